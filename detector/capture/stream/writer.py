"""Decoded sound ─► records, each with the time at which it was captured."""

import time
from typing import BinaryIO, Final

from detector.boottime import boottime
from detector.capture.programs.framing import (
    SAMPLE_BYTES,
    Header,
    Kind,
    StreamFormat,
    pack_format,
    pack_header,
)
from detector.capture.stream.clock import StreamClock

BLOCK_S: Final = 0.1
SETTLE_S: Final = 0.4
"""How much is heard before anything is written: after that it is known when it was captured."""
AHEAD_S: Final = 8.0
"""How much of a burst is written at once. The daemon keeps some ten seconds for its models."""
CATCH_UP: Final = 2.0
"""How fast, in parts of real time, the rest of it follows."""


class Writer:
    """Gathers frames into blocks and writes them, each with the time at which it was captured."""

    def __init__(self, out: BinaryIO, stream: StreamFormat, clock: StreamClock) -> None:
        self._out, self._stream, self._clock = out, stream, clock
        self._next_frame = 0
        self._block: list[bytes] = []
        self._block_frames = 0
        self._block_end_s = 0.0
        self._kept: list[tuple[int, int, float, bytes]] | None = []
        """Blocks (first frame, frames, end by the stream's time, samples) of the beginning."""
        self._began_s: float | None = None
        self._ahead_s = 0.0
        self._written_s = 0.0
        out.write(pack_format(stream))

    def write(self, samples: bytes, missing_s: float, at_s: float) -> None:
        """Take what was decoded next, whose place the clock knows."""
        if missing_s:
            self._end_block()
            self._next_frame += round(missing_s * self._stream.rate)
        self._block.append(samples)
        self._block_frames += len(samples) // (SAMPLE_BYTES * self._stream.channels)
        self._block_end_s = self._clock.end_s
        if self._block_frames >= BLOCK_S * self._stream.rate:
            self._end_block()
        self._began_s = at_s if self._began_s is None else self._began_s
        self.settle()
        self._out.flush()

    def settle(self) -> None:
        """Write the beginning, if it is old enough."""
        if self._kept is None or self._began_s is None or boottime() < self._began_s + SETTLE_S:
            return
        kept, self._kept = self._kept, None
        for block in kept:
            self._write_block(*block)
        self._out.flush()

    def _end_block(self) -> None:
        if not self._block_frames:
            return
        samples, frames = b"".join(self._block), self._block_frames
        first_frame, end_s = self._next_frame, self._block_end_s
        self._block, self._block_frames = [], 0
        self._next_frame += frames
        if self._kept is not None:
            self._kept.append((first_frame, frames, end_s, samples))
        else:
            self._write_block(first_frame, frames, end_s, samples)

    def _write_block(self, first_frame: int, frames: int, end_s: float, samples: bytes) -> None:
        self._pace(frames / self._stream.rate)
        captured_ns = round(self._clock.captured_s(end_s) * 1e9)
        header = Header(Kind.AUDIO, first_frame, captured_ns, 0, frames)
        self._out.write(pack_header(header))
        self._out.write(samples)

    def _pace(self, duration_s: float) -> None:
        """Wait if much more was written than there was time for."""
        now_s = boottime()
        self._ahead_s = max(0.0, self._ahead_s - CATCH_UP * (now_s - self._written_s))
        self._ahead_s += duration_s
        self._written_s = now_s
        if self._ahead_s > AHEAD_S:
            self._out.flush()
            time.sleep((self._ahead_s - AHEAD_S) / CATCH_UP)
