"""A capture program is run, read, watched and started again.

The program is a process of its own because only a new process gets a vanished device back, and
because one that hangs can be ended without touching the other sources.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal, Never

import numpy as np
import structlog

from detector.boottime import boottime
from detector.capture.backoff import Backoff
from detector.capture.channels import select_channel
from detector.capture.clock import SampleClock
from detector.capture.framing import FramingError, Header, Kind, StreamFormat, unpack_format
from detector.capture.process import RunningProgram, running
from detector.capture.program import CaptureProgram
from detector.capture.ring import RingBuffer
from detector.capture.status import CaptureStatus, OnStatus
from detector.capture.timeline import STALL_S, Timeline
from detector.errors import DetectorError, RefusedError, SourceError
from detector.records import to_samples

WAKE_S: Final = 0.1
"""How long, before a device is called stalled, what came while this process itself slept can be
read."""
STEADY_S: Final = 10.0
"""What was heard for so long has come back; what fails sooner has not, and is tried less often."""


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
        backoff, self._status = Backoff(self._program.longest_pause_s), None
        self._end_stream(ring)  # of a run that was cancelled
        while True:
            heard = ring.samples_heard
            reason = await self._run_once(ring, on_status)
            if ring.samples_heard - heard >= to_samples(STEADY_S):
                backoff, self._logged_reason = Backoff(self._program.longest_pause_s), None
            self._log_offline(str(reason))
            self._set_status("offline", on_status)
            self._end_stream(ring)
            await asyncio.sleep(
                backoff.pause_s(boottime(), refused=isinstance(reason, RefusedError))
            )

    async def _run_once(self, ring: RingBuffer, on_status: OnStatus) -> DetectorError:
        """Run the program once, to its end; return why it ended."""
        try:
            async with running(self._program, self._log) as program:
                async with asyncio.timeout(self._program.open_s) as deadline:
                    await self._read(program, ring, on_status, deadline)
        except DetectorError as error:
            return error
        except TimeoutError:
            return SourceError(f"{self.description} delivers nothing")
        except FramingError as error:
            return SourceError(f"the {self._program.name} writes no valid records: {error}")

    async def _read(
        self,
        program: RunningProgram,
        ring: RingBuffer,
        on_status: OnStatus,
        deadline: asyncio.Timeout,
    ) -> Never:
        def pause() -> None:
            self._set_status("stalled", on_status)
            for item in self._timeline.pause():
                ring.write(item)

        stream, watch = StreamFormat(0, 0), _Watch(deadline, self._program, pause)
        try:
            while True:
                header, payload = await program.record(stream.channels)
                if header.kind is Kind.FORMAT:
                    watch.opening()
                    stream = unpack_format(payload)
                    self._end_stream(ring)
                    self._timeline.begin(stream.rate)
                elif header.kind is Kind.OFFLINE:
                    watch.offline()
                    self._set_status("offline", on_status)
                    self._end_stream(ring)
                    if payload:
                        self._log_offline(payload.decode(errors="replace"))
                elif header.kind is Kind.NOTE:
                    self._log.warning(self._program.name, said=payload.decode(errors="replace"))
                else:
                    watch.alive()
                    if header.kind is not Kind.WAITING:
                        self._set_status("listening", on_status)
                        self._write(header, payload, stream, ring)
                    if watch.alive_s >= STEADY_S:
                        self._logged_reason = None
        finally:
            watch.stop()

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

    def __init__(
        self, deadline: asyncio.Timeout, program: CaptureProgram, pause: Callable[[], None]
    ) -> None:
        """Args: deadline: ends the program; pause: is called when it has stalled."""
        self.alive_s = 0.0
        """For how long all has been well."""
        self._program = program
        self._loop = asyncio.get_running_loop()
        self._deadline, self._pause = deadline, pause
        self._timer: asyncio.TimerHandle | None = None
        self._since_s: float | None = None

    def opening(self) -> None:
        """Sound is to come soon."""
        self.stop()
        self._deadline.reschedule(self._loop.time() + self._program.open_s)

    def alive(self) -> None:
        """Some has come, or need not come now."""
        self.stop()
        now_s = self._loop.time()
        self._timer = self._loop.call_later(STALL_S - WAKE_S, self._read_backlog_before_pause)
        self._deadline.reschedule(now_s + STALL_S + self._program.give_up_s)
        self._since_s = self._since_s or now_s
        self.alive_s = now_s - self._since_s

    def offline(self) -> None:
        """The program says that there is none for now."""
        self.stop()
        self._deadline.reschedule(None)
        self._since_s, self.alive_s = None, 0.0

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _read_backlog_before_pause(self) -> None:
        self._timer = self._loop.call_later(WAKE_S, self._pause)
