"""The records that a capture program writes to its stdout, and the daemon reads.

A stream is one format record, then one audio record for each block, and an error record if the
program knows why it ends. A record is a header of 36 bytes and a payload. All numbers are
little-endian; the header is `<4sB3xQqQI`:

    bytes  type    field
    0-3    4s      magic           b"DMIC"
    4      u8      kind            1 format, 2 audio, 3 audio after an overflow, 4 error
    5-7            zero
    8-15   u64     first_sample    index of the payload's first frame in the device's stream
    16-23  i64     captured_ns     when its last frame had been captured, on CLOCK_BOOTTIME
    24-31  u64     dropped         frames that the program has dropped so far
    32-35  u32     size            frames of audio; bytes of another payload

    kind   payload
    1      u32 frames per second, u32 channels
    2, 3   size frames of float32, channels interleaved, full scale is ±1
    4      UTF-8 text for the user

So a program that captures one second of silence is:

    import struct, sys, time
    def write(kind, first_sample, captured_ns, size, payload):
        header = struct.pack("<4sB3xQqQI", b"DMIC", kind, first_sample, captured_ns, 0, size)
        sys.stdout.buffer.write(header + payload)
    write(1, 0, 0, 8, struct.pack("<II", 16000, 1))
    for first_sample in range(0, 16000, 1600):
        time.sleep(0.1)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        write(2, first_sample, now, 1600, bytes(4 * 1600))
        sys.stdout.flush()
"""

import enum
import struct
from typing import Final, NamedTuple

MAGIC: Final = b"DMIC"
_HEADER: Final = struct.Struct("<4sB3xQqQI")
HEADER_BYTES: Final = _HEADER.size
_FORMAT: Final = struct.Struct("<II")
SAMPLE_BYTES: Final = 4
"""Samples are float32, interleaved; full scale is ±1."""

MAX_SIZE: Final = 1 << 20
"""Frames or bytes. A header that announces more is damaged."""


class Kind(enum.IntEnum):
    """What a record carries."""

    FORMAT = 1
    """The rate and the number of channels of what follows."""
    AUDIO = 2
    AUDIO_AFTER_OVERFLOW = 3
    """Audio before which the sound system lost samples; it does not say how many."""
    ERROR = 4
    """Why the program ends: UTF-8 text for the user."""


class FramingError(ValueError):
    """The bytes are not what a capture program writes."""


class Header(NamedTuple):
    """What stands before a record's payload."""

    kind: Kind
    first_sample: int
    """Index of the first frame at the device's rate, counted from the start of the stream and
    including what was dropped."""
    captured_ns: int
    """Nanoseconds on the boottime clock when the last frame had been captured."""
    dropped: int
    """Frames that the program has dropped since the start of the stream."""
    size: int
    """Frames of audio; bytes of another payload."""


class StreamFormat(NamedTuple):
    """What a stream is made of."""

    rate: int
    """Frames per second (Hertz)."""
    channels: int


def pack_header(header: Header) -> bytes:
    return _HEADER.pack(MAGIC, *header)


def unpack_header(data: bytes) -> Header:
    """Read a header from exactly `HEADER_BYTES` bytes.

    Raises:
        FramingError: the bytes are not a header.
    """
    if len(data) != HEADER_BYTES:
        raise FramingError(f"a header has {HEADER_BYTES} bytes, not {len(data)}")
    magic, kind, first_sample, captured_ns, dropped, size = _HEADER.unpack(data)
    if magic != MAGIC:
        raise FramingError(f"a record begins with {MAGIC!r}, not {magic!r}")
    if kind not in Kind.__members__.values():
        raise FramingError(f"there is no record of kind {kind}")
    if size > MAX_SIZE:
        raise FramingError(f"a record of {size} is too long; at most {MAX_SIZE}")
    return Header(Kind(kind), first_sample, captured_ns, dropped, size)


def payload_bytes(header: Header, channels: int) -> int:
    """How many bytes follow the header."""
    if header.kind in (Kind.FORMAT, Kind.ERROR):
        return header.size
    return header.size * channels * SAMPLE_BYTES


def pack_format(stream: StreamFormat) -> bytes:
    """A whole format record."""
    payload = _FORMAT.pack(*stream)
    return pack_header(Header(Kind.FORMAT, 0, 0, 0, len(payload))) + payload


def unpack_format(payload: bytes) -> StreamFormat:
    """Read a format record's payload.

    Raises:
        FramingError: the payload is not a format.
    """
    if len(payload) != _FORMAT.size:
        raise FramingError(f"a format has {_FORMAT.size} bytes, not {len(payload)}")
    rate, channels = _FORMAT.unpack(payload)
    if rate == 0 or channels == 0:
        raise FramingError(f"a format of {channels} channels at {rate} Hz makes no sense")
    return StreamFormat(rate, channels)


def pack_error(message: str) -> bytes:
    """A whole error record."""
    payload = message.encode()
    return pack_header(Header(Kind.ERROR, 0, 0, 0, len(payload))) + payload
