"""A recording as a capture: delivered at the pace at which it was made."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Final

from detector.boottime import boottime
from detector.capture.clock import SampleClock
from detector.capture.recording import Channel, open_audio
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.records import SAMPLE_RATE, Cut, Gap, StreamInfo, to_samples, to_seconds

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

    @property
    def description(self) -> str:
        return str(self._path)

    @property
    def stream(self) -> StreamInfo | None:
        return None

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Deliver the file from its beginning to its end; again and again if it loops.

        Args:
            ring: gets the blocks, and gaps where the file holds what is no sound.
            on_status: is told listening at the beginning and offline at the end.

        Raises:
            AudioFileError: as `open_audio`.
        """
        first_sample: int | None = None
        try:
            while True:
                with open_audio(self._path, self._channel, _PLAY_SAMPLES) as items:
                    if first_sample is None:
                        first_sample, began = self._next_sample(ring), boottime()
                        self.failure = None
                        on_status("listening")
                    before = ring.end_sample
                    for item in items:
                        later = replace(item, first_sample=before + item.first_sample)
                        since = to_seconds(later.end_sample - first_sample)
                        due = began + since / self._speed
                        await asyncio.sleep(due - boottime())
                        self.clock.observe(later.end_sample, due)
                        ring.write(later)
                if not self._loop:
                    self.failure = "the recording has ended; loop = true plays it again and again"
                    return
        finally:
            if first_sample is not None:
                on_status("offline")
                ring.write(Cut(ring.end_sample))

    def _next_sample(self, ring: RingBuffer) -> int:
        """The index that the file's first sample gets: not 0 if it is run again."""
        if self.clock.started:
            missed = round(self.clock.sample_at(boottime())) - ring.end_sample
            ring.write(Gap(ring.end_sample, max(0, missed), "restart"))
        return ring.end_sample
