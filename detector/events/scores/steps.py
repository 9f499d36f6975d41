"""Scores of windows become steps: moments, in order, at which every label has a score.

The scores of a tagger and of a frame classifier relate to time in different ways. Here that
difference ends: the segmenter sees steps, and each step says where a sound begins that is first
heard in it and where a sound ends that is last heard in it.
"""

from collections import deque
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Protocol

import numpy as np

from detector.records import SAMPLE_RATE, FloatArray, Scores
from detector.spec import FramesOutput


@dataclass(frozen=True, slots=True)
class Step:
    onset_sample: int
    """Where a sound begins that was not heard in the step before."""
    offset_sample: int
    """Where a sound ends that is not heard in the step after."""
    end_sample: int
    """How far the audio is known."""
    new: bool
    """Whether there is audio in this step that was in none before; only then can a sound begin."""
    scores: FloatArray
    """(n_labels,) float32."""
    prompt: bool = False
    """Whether scores rise with the sound itself, rather than as a long window reaches it."""


class Steps(Protocol):
    """Scores in, the steps that are now certain out."""

    def push(self, scores: Scores) -> list[Step]: ...

    def flush(self) -> list[Step]:
        """The steps that waited for more, and a new beginning."""
        ...


class ClipSteps:
    """A step a window, for a model with one score set for the whole window.

    The score rises when the window's leading edge reaches the sound and falls when its trailing
    edge leaves it. So a sound begins within the last hop of the first window that has it, and
    ends within the first hop of the last one.
    """

    def __init__(self, hop_samples: int) -> None:
        self._hop = hop_samples

    def push(self, scores: Scores) -> list[Step]:
        if scores.clip is None:
            return []
        return [
            Step(
                onset_sample=scores.end_sample - scores.new_samples,
                offset_sample=min(scores.first_sample + self._hop, scores.end_sample),
                end_sample=scores.end_sample,
                new=scores.new_samples > 0,
                scores=scores.clip,
            )
        ]

    def flush(self) -> list[Step]:
        return []


class FrameSteps:
    """A step a frame, for a model that scores each frame of its window.

    Windows overlap, so several of them vote on a frame. A frame near a window's edge has seen
    little of what is around it and counts less. A frame becomes a step as soon as it is far enough
    from the leading edge, or as far as the hop if that is nearer.
    """

    _EDGE: Final = SAMPLE_RATE // 5
    """Samples from a window's edge within which a frame counts less."""

    def __init__(
        self, output: FramesOutput, hop_samples: int, context_samples: int | None = None
    ) -> None:
        """Set up for one source.

        Args:
            output: how frames lie in a window.
            hop_samples: from a window to the next.
            context_samples: what must be heard around a frame before it counts in full and becomes
                a step, however small the hop is, for a model that is not sure of it earlier.
        """
        edge = self._EDGE if context_samples is None else context_samples
        self._frame = output.hop_samples
        self._offset = output.offset_samples
        self._margin = min(edge, hop_samples) if context_samples is None else edge
        self._ramp = max(1, edge // self._frame)
        self._origin = 0  # the sample from which frames are counted
        self._next: int | None = None  # the first frame that is not a step yet
        self._sums = np.empty((0, 0))
        self._weights = np.empty(0)

    def push(self, scores: Scores) -> list[Step]:
        if scores.frames is None:
            return []
        # Frames are counted from the beginning of the sound, whatever window they come from.
        origin = scores.first_sample if self._next is None else self._origin
        first = round((scores.first_sample - origin) / self._frame)
        heard = scores.end_sample - self._begin(first, origin)
        # What a frame says that is padding in part is not of the sound alone.
        count = min(len(scores.frames), heard // self._frame)
        if count <= 0:
            return []
        if self._next is None:
            self._origin, self._next = origin, first
        late = max(0, self._next - first)
        weights = _weigh(count, self._ramp)[late:]
        self._vote(first + late - self._next, scores.frames[late:count], weights)
        certain = scores.end_sample - self._margin
        return self._settle((certain - self._begin(0, origin)) // self._frame)

    def flush(self) -> list[Step]:
        steps = [] if self._next is None else self._settle(self._next + len(self._sums))
        self._next = None
        return steps

    def _begin(self, frame: int, origin: int) -> int:
        """The first sample that a frame stands for."""
        return origin + frame * self._frame + self._offset

    def _vote(self, at: int, frames: FloatArray, weights: FloatArray) -> None:
        """Add votes on the frames from `at` after the first open one."""
        missing = at + len(frames) - len(self._sums)
        if missing > 0:
            labels = frames.shape[1]
            self._sums = np.concatenate(
                (self._sums.reshape(-1, labels), np.zeros((missing, labels)))
            )
            self._weights = np.concatenate((self._weights, np.zeros(missing)))
        self._sums[at : at + len(frames)] += frames * weights[:, None]
        self._weights[at : at + len(frames)] += weights

    def _settle(self, stop: int) -> list[Step]:
        """The steps of all open frames before frame `stop`."""
        if self._next is None:
            return []
        count = min(max(0, stop - self._next), len(self._sums))
        shown = np.flatnonzero(self._weights[:count])  # a window that was skipped shows none
        scores = np.asarray(self._sums[shown] / self._weights[shown, None], np.float32)
        steps = []
        first = self._begin(self._next, self._origin)
        for i, row in zip(shown.tolist(), scores, strict=True):
            begin = first + i * self._frame
            end = begin + self._frame
            steps.append(Step(begin, end, end, new=True, scores=row, prompt=True))
        self._sums, self._weights = self._sums[count:], self._weights[count:]
        self._next += count
        return steps


@cache
def _weigh(count: int, ramp: int) -> FloatArray:
    """(count,): what each frame of a window counts, which is less within `ramp` of an edge."""
    place = np.arange(count)
    distance = np.minimum(place, place[::-1]) + 1
    return np.asarray(np.minimum(distance / ramp, 1), np.float32)


class MedianSteps:
    """A median filter over the scores of an odd number of steps, around steps of another kind.

    The median of a step looks as far ahead as back, so a step comes half the filter's length
    later and edges stay where they are. At a beginning or an end there is less to look at.
    """

    def __init__(self, inner: Steps, length: int) -> None:
        self._inner = inner
        self._half = length // 2
        self._seen: deque[Step] = deque(maxlen=length)
        self._ahead = 0  # steps seen after the last one given out

    def push(self, scores: Scores) -> list[Step]:
        return self._filter(self._inner.push(scores))

    def flush(self) -> list[Step]:
        steps = self._filter(self._inner.flush())
        while self._ahead:
            steps.append(self._median())
        self._seen.clear()
        return steps

    def _filter(self, steps: list[Step]) -> list[Step]:
        filtered = []
        for step in steps:
            self._seen.append(step)
            self._ahead += 1
            if self._ahead > self._half:
                filtered.append(self._median())
        return filtered

    def _median(self) -> Step:
        centre = len(self._seen) - self._ahead
        near = list(self._seen)[max(0, centre - self._half) : centre + self._half + 1]
        self._ahead -= 1
        median = np.median([step.scores for step in near], axis=0)
        return replace(self._seen[centre], scores=np.asarray(median, np.float32))
