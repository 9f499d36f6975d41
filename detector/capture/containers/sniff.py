"""What kind of container bytes begin, by their first ones: a name says nothing."""

import re
from collections.abc import Callable
from typing import Final

HEAD_BYTES: Final = 8192
"""So many suffice. With fewer, what has no magic number (MP3, AAC, MPEG) may not be known."""

_SIGNATURES: Final = (
    ("wav", rb"(?:RIFF|RIFX|RF64|BW64)....WAVE|riff\x2e\x91\xcf\x11"),
    ("flac", rb"fLaC"),
    ("ogg", rb"OggS\x00"),
    ("mov", rb"\x00\x00..(?:ftyp|moov|wide|free|skip)|....mdat"),
    ("matroska", rb"\x1a\x45\xdf\xa3"),
    ("asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("aiff", rb"FORM....AIF[FC]"),
    ("amr", rb"#!AMR(?:-WB)?\n"),
    ("caf", rb"caff\x00[\x01\x02]\x00\x00"),
    ("au", rb"\.snd\x00\x00"),
    ("avi", rb"RIFF....AVI "),
    ("flv", rb"FLV\x01"),
    ("wv", rb"wvpk"),
    ("ape", rb"MAC "),
    ("tta", rb"TTA1"),
)
"""libavformat's name of a demuxer, and what it begins with."""
_MAGIC: Final = tuple((name, re.compile(magic, re.DOTALL)) for name, magic in _SIGNATURES)
_SYNCHRONISED: Final = 3
"""So many frames must follow one another where there is no magic number: two bytes that look like
a header stand in many a recording of bare samples."""
_TS_BYTES: Final = 188

_MP3_KBIT: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(MPEG 1, or 2 and 2.5; layer) -> kbit/s by index (ISO/IEC 11172-3, 2.4.2.3)."""
_MP3_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000)}
_MP3_RATES_25: Final = (11_025, 12_000, 8_000)


def sniff(head: bytes) -> str | None:
    """Name the container that a recording or stream begins with, as libavformat calls its demuxer.

    Args:
        head: the first `HEAD_BYTES`, or all there is.

    Returns:
        None if it is none that is known: text, or samples without any header.
    """
    body = head[id3_bytes(head) :]
    for name, magic in _MAGIC:
        if magic.match(body):
            return name
    for name, measure in (("mp3", mp3_frame_bytes), ("aac", _adts_frame_bytes)):
        if _follow_one_another(body, measure):
            return name
    if body != head:
        return "mp3"
    return "mpegts" if body[: 3 * _TS_BYTES : _TS_BYTES] == b"GGG" else None


def id3_bytes(head: bytes) -> int:
    """How long the ID3v2 tags are that stand before a recording (id3.org, ID3v2.4.0, 3.1)."""
    end = 0
    while (tag := head[end : end + 10])[:3] == b"ID3" and len(tag) == 10:  # noqa: PLR2004
        size = 0
        for byte in tag[6:]:
            size = size << 7 | byte & 0x7F
        end += 10 + size + (10 if tag[5] & 0x10 else 0)
    return end


def mp3_frame_bytes(header: bytes) -> int:
    """How long the MPEG audio frame is that begins with these bytes; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbit_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or not 1 <= kbit_index <= 14 or rate_index == 3:  # noqa: PLR2004
        return 0
    kbit = _MP3_KBIT[1 if version == 3 else 2, layer][kbit_index - 1]  # noqa: PLR2004
    rate = _MP3_RATES.get(version, _MP3_RATES_25)[rate_index]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12_000 * kbit // rate + padding) * 4
    half = layer == 3 and version != 3  # noqa: PLR2004
    return (72_000 if half else 144_000) * kbit // rate + padding


def _adts_frame_bytes(header: bytes) -> int:
    """The same of AAC's own framing (ISO/IEC 13818-7, 6.2)."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:  # noqa: PLR2004
        return 0
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5


def _follow_one_another(head: bytes, measure: Callable[[bytes], int]) -> bool:
    at = 0
    for _ in range(_SYNCHRONISED):
        length = measure(head[at : at + 6])
        if not length:
            return False
        at += length
    return True
