"""A capture program is run, read, watched and started again.

The program is a process of its own because only a new process gets a vanished device back, and
because one that hangs can be ended without touching the other sources.
"""

import asyncio
from dataclasses import replace
from typing import Final, Literal, Never

import numpy as np
import structlog

from detector.boottime import boottime
from detector.capture.clock import SampleClock
from detector.capture.drift import DriftMeter
from detector.capture.programs.backoff import Backoff, short_pause_s
from detector.capture.programs.framing import (
    FramingError,
    Header,
    Kind,
    StreamFormat,
    unpack_format,
)
from detector.capture.programs.process import RunningProgram, running
from detector.capture.programs.program import CaptureProgram
from detector.capture.programs.stall_watch import StallWatch
from detector.capture.ring import RingBuffer
from detector.capture.sound.channels import PhaseMonitor, select_channel
from detector.capture.status import CaptureStatus, OnStatus
from detector.capture.timeline import STALL_S, Timeline
from detector.errors import DetectorError, RefusedError, SourceError
from detector.records import SAMPLE_RATE, StreamInfo, to_samples

CONNECT_S: Final = 3.0
"""How long whoever is asked may take to accept a connection."""
NEXT_ADDRESS_S: Final = 0.25
"""After which the next address of a host is asked as well (RFC 8305): one of them may be dead."""
ASKED_S: Final = 30.0
"""How long a host is asked. Then the program is started anyway: it may reach what is not reached
here, and says what is wrong."""
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
        self._stream: StreamInfo | None = None
        self._drift, self._phase = DriftMeter(SAMPLE_RATE), PhaseMonitor(SAMPLE_RATE)
        self._captured_s = 0.0
        self._status: CaptureStatus | None = None
        self.failure: str | None = None
        """Why nothing is captured at present."""
        self._logged_reason: str | None = None
        """The same, as it was last logged: what fails again soon is not news."""

    @property
    def description(self) -> str:
        return self._program.source

    @property
    def stream(self) -> StreamInfo | None:
        drift_ppm, cancels = self._drift.ppm, self._phase.cancels
        return self._stream and replace(self._stream, drift_ppm=drift_ppm, cancels=cancels)

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
            self._offline(str(reason), on_status)
            self._end_stream(ring)
            refused = isinstance(reason, RefusedError)
            await asyncio.sleep(backoff.pause_s(boottime(), refused=refused))
            await self._await_host(on_status, heard=ring.samples_heard > heard)

    async def _await_host(self, on_status: OnStatus, *, heard: bool) -> None:
        """Wait until the host takes connections, or long enough.

        Args:
            on_status: is told that it does not.
            heard: whether the program heard anything; if not, it has said itself why.
        """
        until_s = boottime() + ASKED_S
        while not await _takes_connections(self._program.address):
            if heard:
                self._offline(
                    f"{self.description} cannot be reached: check whether it is switched on, and "
                    "on the network",
                    on_status,
                )
            if boottime() >= until_s:
                return
            await asyncio.sleep(short_pause_s())

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

        stream, watch = StreamFormat(0, 0), StallWatch(self._program, deadline, pause)
        try:
            while True:
                header, payload = await program.record(stream.channels)
                if header.kind is Kind.FORMAT:
                    watch.opening()
                    stream = unpack_format(payload)
                    self._begin_stream(stream, ring)
                elif header.kind in (Kind.AUDIO, Kind.AUDIO_AFTER_OVERFLOW):
                    watch.alive()
                    if watch.delivered_s >= STEADY_S:
                        self._logged_reason = None
                    self.failure = None
                    self._set_status("listening", on_status)
                    self._write(header, payload, stream, ring)
                elif header.kind is Kind.WAITING:
                    watch.alive()
                elif header.kind is Kind.OFFLINE:
                    watch.offline()
                    self._offline(_text(payload), on_status)
                    self._end_stream(ring)
                else:
                    self._log.warning(self._program.name, said=_text(payload))
        finally:
            watch.stop()

    def _begin_stream(self, stream: StreamFormat, ring: RingBuffer) -> None:
        self._stream = StreamInfo(
            rate=stream.rate, channels=stream.channels, codec=stream.codec or None
        )
        self._drift, self._phase = DriftMeter(stream.rate), PhaseMonitor(stream.rate)
        self._end_stream(ring)
        self._timeline.begin(stream.rate)

    def _end_stream(self, ring: RingBuffer) -> None:
        for item in self._timeline.finish():
            ring.write(item)

    def _write(
        self, header: Header, payload: bytes, stream: StreamFormat, ring: RingBuffer
    ) -> None:
        samples = np.frombuffer(payload, "<f4").reshape(-1, stream.channels)
        mono = select_channel(samples, self._channel)
        if self._channel == "mix":
            self._phase.push(samples, mono)
        self._watch_drift(header)
        for item in self._timeline.push(header, mono):
            ring.write(item)

    def _watch_drift(self, header: Header) -> None:
        captured_s = header.captured_ns / 1e9
        stalled = captured_s - self._captured_s > STALL_S
        self._captured_s = captured_s
        if stalled or header.kind is Kind.AUDIO_AFTER_OVERFLOW:
            self._drift.reset()
        self._drift.observe(header.first_sample + header.size, captured_s)

    def _set_status(self, status: CaptureStatus, on_status: OnStatus) -> None:
        if status != self._status:
            self._status = status
            on_status(status)

    def _offline(self, reason: str, on_status: OnStatus) -> None:
        """Nothing is captured. Keep why, unless that is no news; log it once, not at every attempt.

        Args:
            reason: why; empty if it is not known.
            on_status: is told, of another reason too.
        """
        if reason and reason != self._logged_reason:
            self._logged_reason = reason
            self._log.warning("the source is offline; it is tried again and again", reason=reason)
        if reason and reason != self.failure:
            self.failure = reason
            self._status = None
        self._set_status("offline", on_status)


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")


async def _takes_connections(address: tuple[str, int] | None) -> bool:
    """Whether anybody does there; true if there is nothing to ask."""
    if address is None:
        return True
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(*address, happy_eyeballs_delay=NEXT_ADDRESS_S)
    except (OSError, UnicodeError):  # the latter of what can be no host's name
        return False
    writer.close()
    return True
