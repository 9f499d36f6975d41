"""A recording as a capture: delivered at the pace at which it was made."""

import asyncio
import contextlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from detector.boottime import boottime
from detector.capture.clock import SampleClock
from detector.capture.recording import Channel, open_audio
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.errors import AudioFileError
from detector.records import (
    SAMPLE_RATE,
    AudioBlock,
    Cut,
    Gap,
    StreamInfo,
    to_samples,
    to_seconds,
)

log = structlog.get_logger()

_READ_SAMPLES: Final = to_samples(0.5)
"""Decoded at once, in a thread: what is damaged may take seconds."""
_PLAY_SAMPLES: Final = to_samples(0.1)


class Recording:
    """A capture that is a file, delivered at the pace at which it was made, as if heard now."""

    def __init__(
        self, path: Path, *, channel: Channel = "mix", speed: float = 1.0, loop: bool = False
    ) -> None:
        """Describe it; nothing is opened yet.

        Args:
            path: the file.
            channel: which to hear, counted from 1, or the mean of all.
            speed: how many times as fast.
            loop: begin again at its end, for ever and without a pause.
        """
        self.clock = SampleClock(round(SAMPLE_RATE * speed))
        self._path, self._channel = path, channel
        self._speed, self._loop = speed, loop
        self.failure: str | None = None
        """That it has ended; what goes wrong is raised."""
        self._began: tuple[int, float] | None = None
        """The first sample of this run, and when it began."""

    @property
    def description(self) -> str:
        return str(self._path)

    @property
    def stream(self) -> StreamInfo | None:
        return None

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Deliver the file from its beginning to its end; again and again if it loops.

        What is wrong with it behind the first sound is logged.

        Args:
            ring: gets the blocks, and gaps where the file holds what is no sound.
            on_status: is told listening at the beginning and offline at the end.

        Raises:
            AudioFileError: as `open_audio`, when it is opened.
        """
        self._began = None
        try:
            while await self._play(ring, on_status) and self._loop:
                pass
            self.failure = "the recording has ended; loop = true plays it again and again"
        finally:
            if self._began:
                on_status("offline")
                ring.write(Cut(ring.end_sample))

    async def _play(self, ring: RingBuffer, on_status: OnStatus) -> bool:
        """Deliver the file once; say whether there was anything."""
        before: int | None = None
        with contextlib.closing(self._items()) as items:
            try:
                while (item := await _next_of(items)) is not None:
                    if not self._began:
                        self._began, self.failure = (self._next_sample(ring), boottime()), None
                        on_status("listening")
                    if before is None:
                        before = ring.end_sample
                    for piece in _pieces(item):
                        later = replace(piece, first_sample=before + piece.first_sample)
                        await self._deliver(later, ring, *self._began)
            except AudioFileError as error:
                if before is None:
                    raise
                log.warning("the recording is incomplete", file=str(self._path), reason=str(error))
        return before is not None

    def _items(self) -> Generator[AudioBlock | Gap, None, None]:
        with open_audio(self._path, self._channel, _READ_SAMPLES) as items:
            yield from items

    async def _deliver(
        self, item: AudioBlock | Gap, ring: RingBuffer, first_sample: int, began: float
    ) -> None:
        """Write it to the ring when it would have been heard."""
        due = began + to_seconds(item.end_sample - first_sample) / self._speed
        await asyncio.sleep(due - boottime())
        self.clock.observe(item.end_sample, due)
        ring.write(item)

    def _next_sample(self, ring: RingBuffer) -> int:
        """The index that the file's first sample gets: not 0 if it is run again."""
        if self.clock.started:
            missed = round(self.clock.sample_at(boottime())) - ring.end_sample
            ring.write(Gap(ring.end_sample, max(0, missed), "restart"))
        return ring.end_sample


async def _next_of(items: Iterator[AudioBlock | Gap]) -> AudioBlock | Gap | None:
    """The next, read in a thread; None at the end. Who is cancelled waits for the thread."""
    reading = asyncio.create_task(asyncio.to_thread(next, items, None))
    try:
        return await asyncio.shield(reading)
    finally:
        await asyncio.wait({reading})


def _pieces(item: AudioBlock | Gap) -> Iterator[AudioBlock | Gap]:
    """What is delivered at once; a gap is."""
    if isinstance(item, Gap):
        yield item
        return
    for first in range(0, len(item.samples), _PLAY_SAMPLES):
        yield AudioBlock(item.first_sample + first, item.samples[first : first + _PLAY_SAMPLES])
