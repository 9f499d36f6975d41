"""Frames of a device or a file become blocks and gaps at the analysis rate."""

from collections.abc import Iterator

from detector.capture.resample import Resampler
from detector.capture.validity import Invalid, ValidityFilter
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap


class Conversion:
    """Consecutive mono frames at any rate in, `AudioBlock` and `Gap` without holes out. No I/O.

    What is no sound becomes a gap (`not_finite`) before it can reach the resampler. Every sample
    that is returned belongs to the time of the frames that it was made of, and is bitwise the same
    however those were cut into blocks. It comes out up to 0.22 s later than it went in.
    """

    def __init__(self, rate: int, first_frame: int = 0, first_sample: int = 0) -> None:
        """Begin.

        Args:
            rate: Hertz, of the frames.
            first_frame: index, at that rate, of the first frame that will be pushed.
            first_sample: the index that it is to have at the analysis rate.

        Raises:
            SourceError: the rate is not supported.
        """
        self.rate = rate
        self.next_frame = first_frame
        """Index, at the device's rate, of the frame that comes next."""
        self.end_sample = first_sample
        """Where, at the analysis rate, what was returned ends."""
        self._first_frame, self._first_sample = first_frame, first_sample
        self._converted = first_frame
        """The index that follows the last frame which has left the filter."""
        self._filter = ValidityFilter(rate)
        self._resampler = Resampler(rate)

    def sample_of(self, frame: int) -> int:
        """The index of a frame at the analysis rate, to the nearest sample."""
        since = frame - self._first_frame
        return self._first_sample + (2 * since * SAMPLE_RATE + self.rate) // (2 * self.rate)

    def push(self, frames: FloatArray) -> Iterator[AudioBlock | Gap]:
        """Take (n,) frames, return what is ready."""
        self.next_frame += len(frames)
        for part in self._filter.push(frames):
            yield from self._convert(part)

    def finish(self) -> Iterator[AudioBlock | Gap]:
        """Return what was held back; nothing may be pushed afterwards."""
        for part in self._filter.finish():
            yield from self._convert(part)
        yield from self._block(self._resampler.finish())

    def _convert(self, part: FloatArray | Invalid) -> Iterator[AudioBlock | Gap]:
        if not isinstance(part, Invalid):
            self._converted += len(part)
            yield from self._block(self._resampler.push(part))
            return
        yield from self._block(self._resampler.finish())
        self._resampler = Resampler(self.rate)
        self._converted += part.frames
        # The resampler may end a sample late; a gap that short must be seen all the same.
        length = max(1, self.sample_of(self._converted) - self.end_sample)
        gap = Gap(self.end_sample, length, "not_finite")
        self.end_sample = gap.end_sample
        yield gap

    def _block(self, samples: FloatArray) -> Iterator[AudioBlock]:
        if len(samples):
            block = AudioBlock(self.end_sample, samples)
            self.end_sample = block.end_sample
            yield block
