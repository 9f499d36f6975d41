"""Where in recordings something is heard, and where nothing is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray
from export.heads.data.recordings import Recording, Span
from export.heads.data.samples import SampleReader
from export.train.augment import VISIBLE, active_frames

STEP = 160
"""Samples: the grid on which sounds are placed."""
_STEPS_AT_ONCE = 6000
"""A minute."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledEvent:
    """A span of a recording, and in which steps of it the sound can be heard."""

    recording: Recording
    span: Span
    first_step: int
    within: Mask
    """(steps of the span,)"""

    @property
    def steps(self) -> int:
        """Of the whole recording."""
        return -(-self.recording.length // STEP)

    @property
    def active(self) -> Mask:
        """(steps of the recording,)."""
        mask = np.zeros(self.steps, np.bool_)
        mask[self.first_step : self.first_step + len(self.within)] = self.within
        return mask

    @property
    def enough(self) -> int:
        """Of how many active steps a window shows the sound."""
        return min(VISIBLE, math.ceil(0.7 * int(self.within.sum())))

    def active_in(self, first: int, stop: int) -> int:
        """How many of the recording's steps `first..stop` are active."""
        own = slice(max(0, first - self.first_step), max(0, stop - self.first_step))
        return int(self.within[own].sum())


@dataclass(frozen=True, slots=True)
class QuietStretch:
    """Samples `first..end` of a recording, in which no label is heard."""

    recording: Recording
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    def read(self, reader: SampleReader, first: int, stop: int) -> FloatArray:
        """Samples from `first`, counted from its beginning, up to `stop` or its end."""
        return reader(self.recording, self.first + first, min(self.first + stop, self.end))

    def read_repeated(self, reader: SampleReader, first: int, size: int) -> FloatArray:
        """(size,) from `first` on; after its end it begins again."""
        parts = [self.read(reader, first, first + size)]
        missing = size - len(parts[0])
        whole = self.read(reader, 0, missing)
        return np.concatenate([*parts, np.resize(whole, missing)]) if missing else parts[0]


def find_event(recording: Recording, span: Span, reader: SampleReader) -> LabelledEvent:
    """Find where in its span the sound is, rather than a pause."""
    first = span.first_sample // STEP
    stop = max(-(-span.end_sample // STEP), 1)
    parts = [
        _energy(recording, begin, min(begin + _STEPS_AT_ONCE, stop), reader)
        for begin in range(first, stop, _STEPS_AT_ONCE)
    ]
    within = active_frames(np.concatenate(parts))
    return LabelledEvent(recording, span, first, within if within.any() else np.ones_like(within))


def find_quiet(recording: Recording) -> Iterator[QuietStretch]:
    """Stretches of a second and more between the spans; a whole background."""
    length = recording.length
    if not recording.spans:
        yield QuietStretch(recording, 0, length)
        return
    end = 0
    for span in (*recording.spans, Span(length, length, -1)):
        if span.first_sample - end >= VISIBLE * STEP:
            yield QuietStretch(recording, end, span.first_sample)
        end = max(end, span.end_sample)


def _energy(
    recording: Recording, first: int, stop: int, reader: SampleReader
) -> NDArray[np.float64]:
    """(steps, 1) of the steps `first..stop`."""
    samples = reader(recording, first * STEP, min(stop * STEP, recording.length))
    padded = np.zeros((stop - first) * STEP, np.float64)
    padded[: len(samples)] = samples
    energy: NDArray[np.float64] = np.square(padded).reshape(-1, STEP).sum(axis=1, keepdims=True)
    return energy
