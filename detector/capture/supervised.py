"""A capture program is run, read, watched and started again.

The program is a process of its own because only a new process gets a vanished device back, and
because one that hangs can be ended without touching the other sources.
"""

import asyncio
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
LONGEST_PAUSE_S: Final = 2.0
"""Between two starts of the program. Opening takes two seconds more, and a device that returns is
to be heard within five."""


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
        self._timeline = Timeline(self.clock)
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
        pause_s, self._status = FIRST_PAUSE_S, None
        for item in self._timeline.finish():  # of a run that was cancelled
            ring.write(item)
        while True:
            try:
                await self._run_once(ring, on_status)
            except DetectorError as error:
                self._log_offline(str(error))
            except FramingError as error:
                self._log_offline(f"the {self._program.name} writes no valid records: {error}")
            if self._status in ("listening", "stalled"):
                pause_s = FIRST_PAUSE_S
            self._set_status("offline", on_status)
            for item in self._timeline.finish():
                ring.write(item)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run_once(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Run the program once, to its end.

        Raises:
            SourceError: why it ended.
            FramingError: it writes something else than records.
        """
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
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        stream = StreamFormat(0, 0)

        def pause() -> None:
            self._set_status("stalled", on_status)
            for item in self._timeline.pause():
                ring.write(item)

        def read_backlog_before_pause() -> None:
            nonlocal timer
            timer = loop.call_later(WAKE_S, pause)

        try:
            while True:
                header = unpack_header(await program.stdout.readexactly(HEADER_BYTES))
                payload = await program.stdout.readexactly(payload_bytes(header, stream.channels))
                if header.kind is Kind.ERROR:
                    raise SourceError(payload.decode(errors="replace"))
                if header.kind is Kind.FORMAT:
                    stream = unpack_format(payload)
                    self._timeline.begin(stream.rate)
                    continue
                if timer is not None:
                    timer.cancel()
                timer = loop.call_later(STALL_S - WAKE_S, read_backlog_before_pause)
                deadline.reschedule(loop.time() + STALL_S + GIVE_UP_S)
                self._logged_reason = None
                self._set_status("listening", on_status)
                self._write(header, payload, stream, ring)
        finally:
            if timer is not None:
                timer.cancel()

    def _write(
        self, header: Header, payload: bytes, stream: StreamFormat, ring: RingBuffer
    ) -> None:
        samples = np.frombuffer(payload, "<f4").reshape(-1, stream.channels)
        for item in self._timeline.push(header, select_channel(samples, self._channel)):
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
