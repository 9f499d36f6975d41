"""MP3: how much of what is decoded is sound, as its first frame says (Xing, Info, LAME).

libavformat leaves out the silence that the encoder put before the sound; what stands behind it, it
leaves out of files alone that it can seek in.
Format: "Mp3 Info Tag rev 1", gabriel.mp3-tech.org/mp3infotag.html.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final

_TAG: Final = re.compile(
    rb"\xff([\xe2-\xff])[\x10-\xef].(?:.{9}|.{17}|.{32})(?:Xing|Info)", re.DOTALL
)
_DECODER_DELAY: Final = 529
_FIELDS: Final = ((1, 4), (2, 4), (4, 100), (8, 4))
"""(flag, bytes) of what may stand before the encoder's name."""
_PADDING_AT: Final = 21
"""Bytes from the encoder's name to its delay and padding, of twelve bits each."""


@dataclass(frozen=True, slots=True)
class Mp3Length:
    """What the first frame promises."""

    frames: int
    """At the sample rate, without the encoder's silence."""
    padding: int
    """Frames of silence behind them, at most, which a decoder gives nevertheless."""


def mp3_length(head: bytes) -> Mp3Length | None:
    """Read what the first frame says.

    Args:
        head: the recording's first bytes, without tags before them.

    Returns:
        None if it does not say how long the recording is.
    """
    found = _TAG.match(head)
    if not found:
        return None
    at = found.end()
    flags, count = struct.unpack_from(">II", head.ljust(at + 8, b"\0"), at)
    if not flags & 1 or not count:
        return None
    per_block = 1152 if found[1][0] & 0x08 else 576
    end = at + 4 + sum(size for flag, size in _FIELDS if flags & flag)
    name, silence = head[end : end + 4], head[end + _PADDING_AT : end + _PADDING_AT + 3]
    if not name.isalnum() or len(silence) < 3:  # noqa: PLR2004
        return Mp3Length(count * per_block, 0)
    both = int.from_bytes(silence)
    before, behind = both >> 12, max(both & 0xFFF, _DECODER_DELAY)
    return Mp3Length(max(0, count * per_block - before - behind), behind)
