"""A capture runs for itself, and a test looks at all that comes of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import numpy as np
import structlog
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.capture.capture import open_capture
from detector.capture.clock import SampleClock
from detector.capture.ring import RingBuffer
from detector.capture.status import CaptureStatus
from detector.records import SAMPLE_RATE, AudioBlock, Cut, FloatArray, Gap, StreamInfo
from detector.settings.sources import SourceSettings


class RunningCapture:
    """A capture that listens, and all that came of it."""

    def __init__(self, settings: SourceSettings) -> None:
        self._capture = open_capture(settings)
        self.clock = cast("SampleClock", self._capture.clock)
        self.items: list[AudioBlock | Gap] = []
        self.cuts: list[int] = []
        """At which samples the sound stopped for as long as nobody knew."""
        self.statuses: list[tuple[str, float]] = []
        """And when they were told, on the boottime clock."""
        self._ring = RingBuffer()
        self._reader = self._ring.reader()
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._capture.run(self._ring, self._on_status))
            group.create_task(self._read())

    async def status(self, status: str, within_s: float = 8.0) -> float:
        """Wait until the last status is this one; return when it was told."""
        return (await self._until(lambda: self.statuses[-1:], status, within_s))[1]

    async def cut(self) -> None:
        """Wait until what was heard is cut off where it ends."""
        async with asyncio.timeout(1), self._changed:
            await self._changed.wait_for(lambda: self.cuts[-1:] == [self._ring.end_sample])

    async def heard(self, seconds: float) -> None:
        """Wait until that much more was heard or is known to be missing."""
        goal = self._ring.end_sample + seconds * SAMPLE_RATE
        async with asyncio.timeout(seconds + 8), self._changed:
            await self._changed.wait_for(lambda: self._ring.end_sample >= goal)

    async def reason(self, logs: list[Any], words: str) -> None:
        """Wait until a captured log says so."""
        async with asyncio.timeout(8):
            while not any(words in str(e) for e in logs):  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.02)

    @property
    def blocks(self) -> list[AudioBlock]:
        return [item for item in self.items if isinstance(item, AudioBlock)]

    @property
    def stream(self) -> StreamInfo | None:
        return self._capture.stream

    @property
    def failure(self) -> str | None:
        return self._capture.failure

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    @property
    def samples(self) -> FloatArray:
        """All samples at their indices, with zeros in the gaps."""
        return np.concatenate(
            [
                np.zeros(item.length, np.float32) if isinstance(item, Gap) else item.samples
                for item in self.items
            ]
        )

    @property
    def end_sample(self) -> int:
        return self._ring.end_sample

    @property
    def end_s(self) -> float:
        """How many seconds were heard or are known to be missing."""
        return self._ring.end_sample / SAMPLE_RATE

    def skew_s(self) -> float:
        """By how much the clock says that the newest sample was heard before it was read."""
        return boottime() - self.clock.captured_at(self._ring.end_sample)

    async def _until(
        self, last: Callable[[], list[tuple[str, float]]], status: str, within_s: float
    ) -> tuple[str, float]:
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: [s for s, _ in last()] == [status])
        return last()[0]

    def _on_status(self, status: str) -> None:
        self.statuses.append((status, boottime()))
        self._notifying = asyncio.create_task(self._notify())

    async def _read(self) -> None:
        while True:
            await self._reader.wait()
            item = self._reader.read(SAMPLE_RATE)
            if isinstance(item, Cut):
                self.cuts.append(item.end_sample)
            elif item is not None:
                self.items.append(item)
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def listening(*sources: SourceSettings) -> AbstractAsyncContextManager[list[RunningCapture]]:
    """Captures of sources that listen already."""
    return all_listening(*map(RunningCapture, sources))


@contextlib.asynccontextmanager
async def all_listening(*captures: RunningCapture) -> AsyncIterator[list[RunningCapture]]:
    """They run until the end of the block, and listen already when it begins."""
    async with all_running(*captures):
        for capture in captures:
            await capture.status("listening")
        yield list(captures)


@contextlib.asynccontextmanager
async def all_running(*captures: RunningCapture) -> AsyncIterator[None]:
    """They run until the end of the block."""
    tasks = [asyncio.create_task(capture.run()) for capture in captures]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)


def position(needle: FloatArray, hay: FloatArray) -> tuple[int, float]:
    """Where the needle begins in the hay, and the correlation coefficient there."""
    size = 1 << (len(hay) + len(needle)).bit_length()
    product = np.fft.rfft(hay, size) * np.conj(np.fft.rfft(needle, size))
    best = int(np.argmax(np.fft.irfft(product, size)[: len(hay) - len(needle)]))
    found = hay[best : best + len(needle)]
    return best, float(np.corrcoef(found, needle)[0, 1])


async def reasons(url: str, seconds: float = 0, **settings: Any) -> list[str]:
    """Why a source is offline, as it is logged until so long after the first time."""
    offline = asyncio.Event()

    def on_status(status: CaptureStatus) -> None:
        if status == "offline":
            offline.set()

    structlog.reset_defaults()
    with capture_logs() as logs:
        capture = open_capture(SourceSettings(name="porch", url=url, **settings))
        running = asyncio.create_task(capture.run(RingBuffer(), on_status))
        try:
            async with asyncio.timeout(15):
                await offline.wait()
            await asyncio.sleep(seconds)
        finally:
            running.cancel()
            await asyncio.wait([running])
    return [str(entry["reason"]) for entry in logs if entry["log_level"] == "warning"]


def reason(url: str, **settings: Any) -> str:
    """Why a source is offline."""
    [only] = asyncio.run(reasons(url, **settings))
    return only
