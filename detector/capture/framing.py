"""The wire format between the microphone program and the daemon.

A stream is one hello record, then one record for each block of audio, and an error record if the
program knows why it ends. All numbers are little-endian.
"""

import enum
import struct
from typing import Final, NamedTuple

MAGIC: Final = b"DMIC"
_HEADER: Final = struct.Struct("<4sB3xQqQI")
HEADER_BYTES: Final = _HEADER.size
_HELLO: Final = struct.Struct("<II")
SAMPLE_BYTES: Final = 4
"""Samples are float32, interleaved; full scale is ±1."""

MAX_SIZE: Final = 1 << 20
"""Frames or bytes. A header that announces more is damaged."""


class Kind(enum.IntEnum):
    """What a record carries."""

    HELLO = 1
    """The rate and the number of channels of what follows."""
    AUDIO = 2
    AUDIO_AFTER_OVERFLOW = 3
    """Audio before which the sound system lost samples; it does not say how many."""
    ERROR = 4
    """Why the program ends: UTF-8 text for the user."""


class FramingError(ValueError):
    """The bytes are not what the microphone program writes."""


class Header(NamedTuple):
    """What stands before a record's payload."""

    kind: Kind
    first_sample: int
    """Index of the first frame at the device's rate, counted from the start of the stream and
    including what was dropped."""
    captured_ns: int
    """Nanoseconds on the monotonic clock when the last frame had been heard."""
    dropped: int
    """Frames that the program has dropped since the start of the stream."""
    size: int
    """Frames of audio; bytes in a hello or an error."""


class Hello(NamedTuple):
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
    if header.kind in (Kind.HELLO, Kind.ERROR):
        return header.size
    return header.size * channels * SAMPLE_BYTES


def pack_hello(hello: Hello) -> bytes:
    """A whole hello record."""
    payload = _HELLO.pack(*hello)
    return pack_header(Header(Kind.HELLO, 0, 0, 0, len(payload))) + payload


def unpack_hello(payload: bytes) -> Hello:
    """Read a hello record's payload.

    Raises:
        FramingError: the payload is not a hello.
    """
    if len(payload) != _HELLO.size:
        raise FramingError(f"a hello has {_HELLO.size} bytes, not {len(payload)}")
    rate, channels = _HELLO.unpack(payload)
    if rate == 0 or channels == 0:
        raise FramingError(f"a hello of {channels} channels at {rate} Hz makes no sense")
    return Hello(rate, channels)


def pack_error(message: str) -> bytes:
    """A whole error record."""
    payload = message.encode()
    return pack_header(Header(Kind.ERROR, 0, 0, 0, len(payload))) + payload
