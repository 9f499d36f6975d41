"""A microphone as a source: the microphone program is run, read, watched and started again.

The program is a process of its own because only a new process gets a vanished device back, and
because one that hangs can be ended without touching the other sources.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

import numpy as np
import structlog

from detector.capture.channels import choose
from detector.capture.clock import SampleClock
from detector.capture.framing import (
    HEADER_BYTES,
    FramingError,
    Header,
    Hello,
    Kind,
    payload_bytes,
    unpack_header,
    unpack_hello,
)
from detector.capture.ring import RingBuffer
from detector.capture.timeline import STALL_S, Timeline
from detector.errors import DetectorError, SourceError
from detector.settings.sources import SourceSettings

Status = Literal["listening", "stalled", "offline"]

log = structlog.get_logger()

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
GRACE_S: Final = 0.3
"""How long a program gets to end by itself, and again after it was told to."""
NOISE_LINES: Final = 3
"""How much of what the sound libraries print is kept for an error's message."""


class Microphone:
    """A source that is a sound device."""

    def __init__(self, settings: SourceSettings) -> None:
        if settings.device is None:
            raise ValueError(f"source {settings.name} has no device")
        self._device = settings.device
        self._channel = settings.channel
        self._log = log.bind(source=settings.name)
        self._status: Status | None = None
        self._explained: str | None = None
        """Why the device is offline, as it was last logged."""

    async def run(
        self, ring: RingBuffer, clock: SampleClock, on_status: Callable[[Status], None]
    ) -> None:
        """Listen until cancelled, whatever the device does.

        Args:
            ring: gets the blocks and the gaps, without holes, and a cut where the sound stops for
                as long as nobody knows: the device has stalled or is gone.
            clock: is told when each block was heard.
            on_status: is told each change of the status.
        """
        timeline = Timeline(clock)

        def say(status: Status) -> None:
            if status != self._status:
                self._status = status
                on_status(status)

        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._listen(ring, timeline, say)
            except DetectorError as error:
                self._explain(str(error))
            except FramingError as error:
                self._explain(f"the microphone program writes what nobody understands: {error}")
            if self._status in ("listening", "stalled"):
                pause_s = FIRST_PAUSE_S
            say("offline")
            for item in timeline.finish():
                ring.write(item)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _listen(
        self, ring: RingBuffer, timeline: Timeline, say: Callable[[Status], None]
    ) -> None:
        """Run the program once, to its end.

        Raises:
            SourceError: why it ended.
            FramingError: it writes something else than records.
        """
        async with _program(self._device, self._channel, self._log) as (process, noise):
            try:
                async with asyncio.timeout(OPEN_S) as deadline:
                    await self._read(process, ring, timeline, say, deadline)
            except TimeoutError:
                raise SourceError(f"device {self._device!r} delivers nothing") from None
            except asyncio.IncompleteReadError:
                said = f": {' / '.join(noise)}" if noise else ""
                raise SourceError(f"the microphone program ended by itself{said}") from None

    async def _read(
        self,
        process: Process,
        ring: RingBuffer,
        timeline: Timeline,
        say: Callable[[Status], None],
        deadline: asyncio.Timeout,
    ) -> None:
        if process.stdout is None:
            raise SourceError("the microphone program has no output")
        loop = asyncio.get_running_loop()
        stall: asyncio.TimerHandle | None = None
        hello = Hello(0, 0)

        def pause() -> None:
            say("stalled")
            for item in timeline.pause():
                ring.write(item)

        def suspect() -> None:
            nonlocal stall
            stall = loop.call_later(WAKE_S, pause)

        try:
            while True:
                header = unpack_header(await process.stdout.readexactly(HEADER_BYTES))
                payload = await process.stdout.readexactly(payload_bytes(header, hello.channels))
                if header.kind is Kind.ERROR:
                    raise SourceError(payload.decode(errors="replace"))
                if header.kind is Kind.HELLO:
                    hello = unpack_hello(payload)
                    timeline.begin(hello.rate)
                    continue
                if stall is not None:
                    stall.cancel()
                stall = loop.call_later(STALL_S - WAKE_S, suspect)
                deadline.reschedule(loop.time() + STALL_S + GIVE_UP_S)
                self._explained = None
                say("listening")
                self._write(header, payload, hello, ring, timeline)
        finally:
            if stall is not None:
                stall.cancel()

    def _write(
        self, header: Header, payload: bytes, hello: Hello, ring: RingBuffer, timeline: Timeline
    ) -> None:
        samples = np.frombuffer(payload, "<f4").reshape(-1, hello.channels)
        for item in timeline.push(header, choose(samples, self._channel)):
            ring.write(item)

    def _explain(self, reason: str) -> None:
        """Log why the device is offline; once, not at every attempt."""
        if reason != self._explained:
            self._explained = reason
            self._log.warning("the source is offline; it is tried again and again", reason=reason)


@contextlib.asynccontextmanager
async def _program(
    device: str, channel: int | Literal["mix"], to: structlog.typing.FilteringBoundLogger
) -> AsyncIterator[tuple[Process, deque[str]]]:
    """The microphone program while it runs, and the last lines of its stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "detector.capture.microphone"),
        *("--device", device, "--channel", str(channel)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        process_group=0,  # Ctrl-C is for the daemon, which ends its programs in order
    )
    noise: deque[str] = deque(maxlen=NOISE_LINES)
    listening = asyncio.create_task(_keep_noise(process, noise, to), name="microphone's stderr")
    try:
        yield process, noise
    finally:
        await _end(process)
        listening.cancel()


async def _keep_noise(
    process: Process, noise: deque[str], to: structlog.typing.FilteringBoundLogger
) -> None:
    while process.stderr and (some := await process.stderr.read(4096)):
        for line in some.decode(errors="replace").splitlines():
            if line.strip():
                noise.append(line)
                to.debug("microphone program", line=line)


async def _end(process: Process) -> None:
    """End the program within a second, though it hang in a sound library."""
    if process.stdin:
        process.stdin.close()
    for insist in (None, process.terminate, process.kill):
        if insist:
            with contextlib.suppress(ProcessLookupError):
                insist()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                if process.stdout:
                    await process.stdout.read()  # else a full pipe would keep it from ending
                await process.wait()
                return
