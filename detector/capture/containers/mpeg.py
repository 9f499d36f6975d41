"""The headers of MPEG audio frames (layer I to III, and AAC in ADTS), which have no container.

Formats: ISO/IEC 11172-3, 2.4.1.3 and 13818-3; ISO/IEC 13818-7, 6.2.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

HEADER_BYTES: Final = 7
_KBIT: Final = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(MPEG 1, layer) -> kbit/s of each index from 1."""
_MPEG_1, _MPEG_2 = 3, 2
_RATES: Final = {
    _MPEG_1: (44_100, 48_000, 32_000),
    _MPEG_2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
"""Version -> Hertz of each index; 0 is MPEG 2.5."""
_ADTS_RATES: Final = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025),
    *(8_000, 7_350),
)


class MpegFrame(NamedTuple):
    """What a header says."""

    size: int
    """Bytes, the header's own among them."""
    seconds: float
    kind: int
    """What all frames of a recording have in common: version, layer and rate."""


ReadHeader = Callable[[bytes], MpegFrame | None]


def mp3_frame(header: bytes) -> MpegFrame | None:
    """Read the header of an MPEG audio frame; None if the bytes are none."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbit_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or kbit_index in (0, 15) or rate_index == 3:  # noqa: PLR2004
        return None
    kbit = _KBIT[version == _MPEG_1, layer][kbit_index - 1]
    rate = _RATES[version][rate_index]
    padding = header[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and version != _MPEG_1 else 1152  # noqa: PLR2004
    size = 4 * (12_000 * kbit // rate + padding) if layer == 1 else 125 * samples * kbit // rate
    kind = header[1] & 0x1E | rate_index << 8
    return MpegFrame(size if layer == 1 else size + padding, samples / rate, kind)


def adts_frame(header: bytes) -> MpegFrame | None:
    """Read the header of an AAC frame; None if the bytes are none."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:  # noqa: PLR2004
        return None
    rate_index = header[2] >> 2 & 15
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    if rate_index >= len(_ADTS_RATES) or size <= HEADER_BYTES:
        return None
    seconds = 1024 * (1 + (header[6] & 3)) / _ADTS_RATES[rate_index]
    return MpegFrame(size, seconds, header[1] & 0x08 | rate_index << 8)


def follow_one_another(data: bytes, at: int, read: ReadHeader, count: int) -> bool:
    """Whether so many frames begin at a place, or as many as there are up to the very end."""
    first = frame = read(data[at : at + HEADER_BYTES])
    for _ in range(count - 1):
        if not frame or not first or frame.kind != first.kind:
            return False
        at += frame.size
        if at == len(data):
            return True
        frame = read(data[at : at + HEADER_BYTES])
    return bool(frame and first and frame.kind == first.kind)
