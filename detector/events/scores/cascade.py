"""An expensive model looks only where a cheap one, or the level, gives cause."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from detector.decibels import mean_square
from detector.records import SAMPLE_RATE, Cut, Scores, Unscored, Window
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec

_EDGE: Final = SAMPLE_RATE // 2
"""Near the edge of a window a model is not sure yet."""
_MOST_CAUSES: Final = 1000
"""Apart from each other, in the sound that waits for the model."""


@dataclass(frozen=True, slots=True)
class Other:
    """The model that is asked."""

    labels: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    """(n,) places of those that give cause: all but what a bundle has disabled, as silence."""
    frame_samples: int | None
    """Between its frames; None if it has none."""

    def peak(self, scores: Scores) -> float:
        """The highest score of what is new; of the whole window, if the model has no frames."""
        if scores.frames is None or self.frame_samples is None:
            found = scores.clip
        else:
            # Frames that were near the edge of the window before count as well.
            count = (scores.new_samples + _EDGE) // self.frame_samples + 1
            heard = (scores.end_sample - scores.first_sample) // self.frame_samples
            found = scores.frames[max(0, heard - count) : heard + 1]
        if found is None or not found.size:
            return 0.0
        return float(found[..., self.labels].max(initial=0))


class Cascade:
    """Says of each window of one model whether it is worth being scored.

    It is if there is a cause anywhere in the window: the other model scored a label of what was new
    to it with at least the threshold, or could not score it; or the level reached its threshold.
    The whole window counts, and not its newest part alone, since the edges of a segment follow from
    all windows that show the sound.
    """

    def __init__(self, settings: ModelSettings, spec: BundleSpec, other: Other | None) -> None:
        """Set up for one source.

        Args:
            settings: with `cascade_from` or `cascade_level_dbfs`.
            spec: of the model whose windows are judged.
            other: the model that is asked, if there is one.
        """
        level = settings.cascade_level_dbfs
        self._least_power = np.inf if level is None else mean_square(level)
        self._least_score = settings.cascade_threshold
        self._spec, self._other = spec, other
        self._causes: deque[tuple[int, int]] = deque(maxlen=_MOST_CAUSES)
        """From where to where, in order of their ends."""
        self._known_until = 0
        """How far the other model has looked at the sound."""

    def hear(self, answer: Scores | Cut | Unscored) -> None:
        """Take the other model's next answer."""
        begin, end = self._known_until, answer.end_sample
        if isinstance(answer, Unscored):
            self._add(begin, end)
        elif isinstance(answer, Scores):
            new = max(begin, end - answer.new_samples)
            self._add(begin, new)  # what it left out, if anything
            if self._other and self._other.peak(answer) >= self._least_score:
                self._add(new, end)
        self._known_until = max(begin, end)

    def left_out(self, end_sample: int) -> None:
        """The other model has left out all until here."""
        self._add(self._known_until, end_sample)
        self._known_until = max(self._known_until, end_sample)

    def judge(self, window: Window, *, late: bool) -> bool | None:
        """Whether a window is worth being scored.

        Args:
            window: the model's next one.
            late: whether the other model cannot be waited for any longer.

        Returns:
            None if that depends on what the other model will say.
        """
        begin = window.end_sample - window.new_samples
        if window.power >= self._least_power:
            self._add(begin, window.end_sample)
        longest = self._spec.window.samples
        while self._causes and self._causes[0][1] <= window.end_sample - longest:
            self._causes.popleft()
        if any(f < window.end_sample and e > window.first_sample for f, e in self._causes):
            return True
        if self._other is None or self._known_until >= window.end_sample:
            return False
        return True if late else None

    def withheld(self, window: Window) -> Scores:
        """What is said of a window that is not scored: none of the labels is in it."""
        outputs, labels = self._spec.outputs, len(self._spec.labels)
        heard = window.end_sample - window.first_sample
        frames = None if outputs.frames is None else heard // outputs.frames.hop_samples
        return Scores(
            first_sample=window.first_sample,
            end_sample=window.end_sample,
            new_samples=window.new_samples,
            power=window.power,
            clip=None if outputs.clip is None else np.zeros(labels, np.float32),
            frames=None if frames is None else np.zeros((frames, labels), np.float32),
        )

    def _add(self, first: int, end: int) -> None:
        if end <= first:
            return
        if self._causes and first <= self._causes[-1][1]:
            before, until = self._causes.pop()
            first, end = min(first, before), max(end, until)
        self._causes.append((first, end))
