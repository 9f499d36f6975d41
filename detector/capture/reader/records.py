"""Records that somebody else writes: nothing in them is believed before it was looked at."""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from detector.boottime import boottime_ns
from detector.capture.programs.framing import (
    HEADER_BYTES,
    FramingError,
    Header,
    Kind,
    StreamFormat,
    payload_bytes,
    unpack_format,
    unpack_header,
)
from detector.records import FloatArray
from detector.settings.pcm import MAX_RATE, MIN_RATE, MOST_CHANNELS

_AUDIO: Final = (Kind.AUDIO, Kind.AUDIO_AFTER_OVERFLOW)
_KINDS: Final = (Kind.FORMAT, *_AUDIO, Kind.ERROR, Kind.WAITING)
"""What a writer may send. That it waits is no news: whoever sends nothing is known to."""
MAX_RECORD_BYTES: Final = 1 << 20
_SECOND: Final = 1_000_000_000
_UTC_FROM: Final = 10**18
"""Nanoseconds: as UTC, the year 2001; as time since a machine was started, 31 years."""
_FUTURE_NS: Final = _SECOND
TOO_OLD_S: Final = 10.0
"""Sound that was captured longer ago is left out: the ring is no longer."""


class RecordedAudio(NamedTuple):
    """Frames of a writer."""

    frames: FloatArray
    """(n, channels) float32."""
    skipped: int
    """Frames that were lost before them, as the writer says or because they were too old."""
    captured_ns: int
    """When the last of them had been captured, on the boottime clock."""
    after_overflow: bool


class RecordParser:
    """Bytes of a writer in pieces of any length in, formats and audio out.

    Operations: `push`. It keeps at most one record, of `MAX_RECORD_BYTES`, that is not complete.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: Header | None = None
        self._format: StreamFormat | None = None
        self._next_frame: int | None = None
        """The index, in the writer's count, of the frame that comes next; None before the first."""
        self._began_ns = 0
        self._frames = 0
        """Of the stream so far, with those that were lost."""
        self._too_old = 0
        """Frames that were left out before the next ones."""

    @property
    def buffered(self) -> int:
        """Bytes of a record that is not complete."""
        return len(self._buffer)

    @property
    def too_old(self) -> int:
        """Frames that were just left out because they are too old."""
        return self._too_old

    def push(self, data: bytes, arrived_ns: int) -> Iterator[StreamFormat | RecordedAudio]:
        """Take bytes that arrived at a time of the boottime clock.

        Raises:
            FramingError: they are no records, or tell what cannot be.
        """
        self._buffer += data
        while True:
            if self._header is None:
                if len(self._buffer) < HEADER_BYTES:
                    return
                self._header = self._checked(unpack_header(bytes(self._buffer[:HEADER_BYTES])))
                del self._buffer[:HEADER_BYTES]
            channels = self._format.channels if self._format else 0
            size = payload_bytes(self._header, channels)
            if len(self._buffer) < size:
                return
            header, payload = self._header, bytes(self._buffer[:size])
            self._header = None
            del self._buffer[:size]
            if item := self._item(header, payload, arrived_ns):
                yield item

    def _checked(self, header: Header) -> Header:
        """Refuse a record before its payload is read."""
        if header.kind not in _KINDS:
            raise FramingError("a writer's records are format, audio and error")
        if header.kind in _AUDIO and self._format is None:
            raise FramingError("audio before the format of the stream")
        size = payload_bytes(header, self._format.channels if self._format else 0)
        if size > MAX_RECORD_BYTES:
            raise FramingError(f"a record of {size} bytes is too long; at most {MAX_RECORD_BYTES}")
        if self._format and header.size > self._format.rate:
            raise FramingError("a record is longer than a second")
        return header

    def _item(
        self, header: Header, payload: bytes, arrived_ns: int
    ) -> StreamFormat | RecordedAudio | None:
        if header.kind is Kind.ERROR:
            raise FramingError(f"the writer ends: {payload.decode(errors='replace')}")
        if header.kind is Kind.FORMAT:
            self._format = unpack_format(payload)
            self._next_frame, self._frames, self._too_old = None, 0, 0
            return _possible(self._format)
        return self._audio(header, payload, arrived_ns) if header.kind in _AUDIO else None

    def _audio(self, header: Header, payload: bytes, arrived_ns: int) -> RecordedAudio | None:
        if self._format is None:
            raise FramingError("audio before the format of the stream")
        if self._next_frame is None:
            self._next_frame, self._began_ns = header.first_sample, arrived_ns
        lost = header.first_sample - self._next_frame
        if lost < 0:
            raise FramingError(
                f"a block begins at sample {header.first_sample}, before the end of the last one, "
                f"{self._next_frame}"
            )
        self._next_frame = header.first_sample + header.size
        self._frames += lost + header.size
        most = (arrived_ns - self._began_ns) / _SECOND + TOO_OLD_S
        if lost and self._frames / self._format.rate > most:
            raise FramingError(
                f"the count of samples leaps by {lost}, which is more time than has gone by"
            )
        captured_ns = _captured_ns(header.captured_ns, arrived_ns)
        if arrived_ns - captured_ns > TOO_OLD_S * _SECOND:
            self._too_old += lost + header.size
            return None
        skipped, self._too_old = lost + self._too_old, 0
        frames = np.frombuffer(payload, "<f4").reshape(-1, self._format.channels)
        overflow = header.kind is Kind.AUDIO_AFTER_OVERFLOW
        return RecordedAudio(frames, skipped, captured_ns, overflow)


def _possible(stream: StreamFormat) -> StreamFormat:
    if not MIN_RATE <= stream.rate <= MAX_RATE or stream.channels > MOST_CHANNELS:
        raise FramingError(
            f"{stream.channels} channels at {stream.rate} Hz are not supported, only 1 to "
            f"{MOST_CHANNELS} at {MIN_RATE} to {MAX_RATE} Hz"
        )
    return stream


def _captured_ns(told_ns: int, arrived_ns: int) -> int:
    """What a writer says of the time, on the boottime clock of this machine.

    Raises:
        FramingError: it lies in the future.
    """
    if told_ns == 0:
        return arrived_ns
    if told_ns >= _UTC_FROM:
        told_ns += boottime_ns() - time.time_ns()
    if told_ns > arrived_ns + _FUTURE_NS:
        ahead_s = (told_ns - arrived_ns) / _SECOND
        raise FramingError(
            f"the writer's clock is {ahead_s:.1f} s ahead of this machine's: both need a time "
            "server, or captured_ns is to be 0"
        )
    return min(told_ns, arrived_ns)
