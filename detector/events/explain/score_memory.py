"""The highest scores of the last minutes, for those who ask why there was an event, or none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detector.events.scores.steps import Step
from detector.explanations import MEMORY_S
from detector.records import SAMPLE_RATE, FloatArray

_BUCKET_SAMPLES: Final = SAMPLE_RATE // 4
_TOP: Final = 10
"""How many labels of a bucket are kept."""
_CAPACITY: Final = MEMORY_S * SAMPLE_RATE // _BUCKET_SAMPLES + 1
"""Buckets: so many of the shortest reach as far back as is asked for."""


@dataclass(frozen=True, slots=True)
class ScoreBucket:
    """The highest scores of a short stretch of sound, as the segmenter saw them."""

    first_sample: int
    end_sample: int
    labels: "np.ndarray[tuple[int], np.dtype[np.unsignedinteger[Any]]]"
    """(n,) places in the model's labels, the highest score first."""
    scores: FloatArray
    """(n,) float32, of these labels."""


class ScoreMemory:
    """The scores of one model for one source: of each quarter of a second, or hop, the highest.

    They lie in arrays of fixed size that are overwritten in turn: 182 kB for a model with more than
    256 labels, 158 kB for one with 10 to 256. Scores stay float32, so that one which was just below
    a threshold is still below it when it is explained.
    """

    def __init__(self, n_labels: int) -> None:
        """Set up for a model with so many labels."""
        top = min(_TOP, n_labels)
        self._samples = np.zeros((_CAPACITY, 2), np.int64)  # of each bucket, from where to where
        self._labels = np.zeros((_CAPACITY, top), np.min_scalar_type(max(0, n_labels - 1)))
        self._scores = np.zeros((_CAPACITY, top), np.float32)
        self._kept = 0
        """How many buckets there were so far."""
        self._best: FloatArray | None = None
        """(n_labels,) float32, of the bucket that is not full yet."""
        self._first = self._end = self._full_at = 0

    @property
    def nbytes(self) -> int:
        """What it takes, beside the last scores."""
        return self._samples.nbytes + self._labels.nbytes + self._scores.nbytes

    def add(self, step: Step) -> None:
        """Take the next step."""
        if self._best is None:
            # A long window shows in each step the sounds of all its length.
            self._first = min(step.onset_sample, step.offset_sample)
            self._full_at = step.onset_sample + _BUCKET_SAMPLES
            self._best = step.scores.copy()  # a view would keep the scores of a whole window
        else:
            np.maximum(self._best, step.scores, out=self._best)
        self._end = step.end_sample
        if self._end >= self._full_at:
            place = self._kept % _CAPACITY
            bucket = self._bucket(self._best)
            self._samples[place] = bucket.first_sample, bucket.end_sample
            self._labels[place], self._scores[place] = bucket.labels, bucket.scores
            self._kept += 1
            self._best = None

    def between(self, first_sample: int, end_sample: int) -> Iterator[ScoreBucket]:
        """What was scored in a stretch, or near enough that the model saw it; in order."""
        oldest = self._end - MEMORY_S * SAMPLE_RATE
        for number in range(max(0, self._kept - _CAPACITY), self._kept):
            place = number % _CAPACITY
            first, end = self._samples[place].tolist()
            if first < end_sample and end > max(first_sample, oldest):
                yield ScoreBucket(
                    first, end, self._labels[place].copy(), self._scores[place].copy()
                )
        if self._best is not None and self._first < end_sample and self._end > first_sample:
            yield self._bucket(self._best)

    def _bucket(self, best: FloatArray) -> ScoreBucket:
        top = np.argsort(best)[::-1][: self._labels.shape[1]]
        return ScoreBucket(self._first, self._end, top.astype(self._labels.dtype), best[top])
