"""A capture program is run, read, watched and started again.

The program is a process of its own because only a new process gets a vanished device back, and
because one that hangs can be ended without touching the other sources.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import structlog

from detector.capture.channels import select_channel
from detector.capture.clock import SampleClock
from detector.capture.framing import (
    HEADER_BYTES,
    FramingError,
    Header,
    Kind,
    StreamFormat,
    payload_bytes,
    unpack_format,
    unpack_header,
)
from detector.capture.process import RunningProgram, running
from detector.capture.program import CaptureProgram
from detector.capture.ring import RingBuffer
from detector.capture.status import CaptureStatus, OnStatus
from detector.capture.timeline import STALL_S, Timeline
from detector.errors import DetectorError, SourceError

OPEN_S: Final = 8.0
"""How long the first block may take: sound servers have been seen to take three seconds."""
WAKE_S: Final = 0.1
"""How long, before a device is called stalled, what came while this process itself slept can be
read."""
GIVE_UP_S: Final = 5.0
"""How long a stalled device is waited for before the program is started again."""
FIRST_PAUSE_S: Final = 0.5
"""Between two starts of the program; twice as long each time, up to what the program sets."""
STEADY_S: Final = 5.0
"""Who has delivered for so long is started again after the first pause. Who has not may do the
same again."""


class SupervisedProgram:
    """A capture that is a program of its own, and never ends.

    The timers here stand still while the machine is suspended, but the times of the blocks go on:
    a suspension is no stall before the next block says how long it was.
    """

    def __init__(
        self, program: CaptureProgram, channel: int | Literal["mix"], source_name: str
    ) -> None:
        """Args: channel: which to hear, counted from 1, or the mean of all."""
        self.clock = SampleClock()
        self._program = program
        self._channel = channel
        self._timeline = Timeline(self.clock, complete=program.complete)
        self._log = structlog.get_logger().bind(source=source_name)
        self._status: CaptureStatus | None = None
        self._logged_reason: str | None = None
        """Why the source is offline, as it was last logged."""
        self._delivered_s = 0.0
        """How long the program delivered sound, the last time that it ran."""

    @property
    def description(self) -> str:
        return self._program.source

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Capture until cancelled, whatever the device does.

        Args:
            ring: gets the blocks and the gaps, without holes, and a cut where the sound stops for
                as long as nobody knows: the device has stalled or is gone.
            on_status: is told each change of the status.
        """
        pause_s, self._status = FIRST_PAUSE_S, None
        self._end_stream(ring)  # of a run that was cancelled
        while True:
            try:
                await self._run_once(ring, on_status)
            except DetectorError as error:
                self._log_offline(str(error))
            except FramingError as error:
                self._log_offline(f"the {self._program.name} writes no valid records: {error}")
            if self._delivered_s > STEADY_S:
                pause_s = FIRST_PAUSE_S
            self._set_status("offline", on_status)
            self._end_stream(ring)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, self._program.longest_pause_s)

    async def _run_once(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Run the program once, to its end.

        Raises:
            SourceError: why it ended.
            FramingError: it writes something else than records.
        """
        self._delivered_s = 0.0
        async with running(self._program, self._log) as program:
            try:
                async with asyncio.timeout(OPEN_S) as deadline:
                    await self._read(program, ring, on_status, deadline)
            except TimeoutError:
                raise SourceError(f"{self.description} delivers nothing") from None
            except asyncio.IncompleteReadError:
                words = await program.last_words()
                raise SourceError(
                    f"the {self._program.name} ended by itself{': ' if words else ''}{words}"
                ) from None

    async def _read(
        self,
        program: RunningProgram,
        ring: RingBuffer,
        on_status: OnStatus,
        deadline: asyncio.Timeout,
    ) -> None:
        def pause() -> None:
            self._set_status("stalled", on_status)
            for item in self._timeline.pause():
                ring.write(item)

        stream, watch = StreamFormat(0, 0), _Watch(deadline, pause)
        try:
            while True:
                header = unpack_header(await program.stdout.readexactly(HEADER_BYTES))
                payload = await program.stdout.readexactly(payload_bytes(header, stream.channels))
                if header.kind is Kind.FORMAT:
                    watch.opening()
                    stream = unpack_format(payload)
                    self._end_stream(ring)
                    self._timeline.begin(stream.rate)
                elif header.kind in (Kind.AUDIO, Kind.AUDIO_AFTER_OVERFLOW):
                    watch.sound()
                    self._logged_reason = None
                    self._set_status("listening", on_status)
                    self._write(header, payload, stream, ring)
                elif header.kind is Kind.OFFLINE:
                    watch.offline()
                    self._set_status("offline", on_status)
                    self._end_stream(ring)
                    if payload:
                        self._log_offline(_text(payload))
                elif header.kind is Kind.NOTE:
                    self._log.warning(self._program.name, said=_text(payload))
                else:
                    raise SourceError(_text(payload))
        finally:
            watch.stop()
            self._delivered_s = watch.delivered_s

    def _write(
        self, header: Header, payload: bytes, stream: StreamFormat, ring: RingBuffer
    ) -> None:
        samples = np.frombuffer(payload, "<f4").reshape(-1, stream.channels)
        for item in self._timeline.push(header, select_channel(samples, self._channel)):
            ring.write(item)

    def _end_stream(self, ring: RingBuffer) -> None:
        for item in self._timeline.finish():
            ring.write(item)

    def _set_status(self, status: CaptureStatus, on_status: OnStatus) -> None:
        if status != self._status:
            self._status = status
            on_status(status)

    def _log_offline(self, reason: str) -> None:
        """Log why the source is offline; once, not at every attempt."""
        if reason != self._logged_reason:
            self._logged_reason = reason
            self._log.warning("the source is offline; it is tried again and again", reason=reason)


class _Watch:
    """Notices that a program delivers nothing, and gives it up after a while."""

    def __init__(self, deadline: asyncio.Timeout, pause: Callable[[], None]) -> None:
        """Args: deadline: ends the program; pause: is called when it has stalled."""
        self.delivered_s = 0.0
        """How long it has delivered sound."""
        self._loop = asyncio.get_running_loop()
        self._deadline, self._pause = deadline, pause
        self._timer: asyncio.TimerHandle | None = None
        self._first_block_s: float | None = None

    def opening(self) -> None:
        """Sound is to come soon."""
        self.stop()
        self._deadline.reschedule(self._loop.time() + OPEN_S)

    def sound(self) -> None:
        """Some has come."""
        self.stop()
        now_s = self._loop.time()
        self._timer = self._loop.call_later(STALL_S - WAKE_S, self._read_backlog_before_pause)
        self._deadline.reschedule(now_s + STALL_S + GIVE_UP_S)
        self._first_block_s = self._first_block_s or now_s
        self.delivered_s = now_s - self._first_block_s

    def offline(self) -> None:
        """The program says that there is none for now."""
        self.stop()
        self._deadline.reschedule(None)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _read_backlog_before_pause(self) -> None:
        self._timer = self._loop.call_later(WAKE_S, self._pause)


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")
