"""An expensive model looks only where a cheap one, or the level, gives cause."""

from collections import deque
from typing import Final

import numpy as np

from detector.decibels import mean_square
from detector.records import SAMPLE_RATE, Cut, FloatArray, Scores, Window
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec

_PATIENCE: Final = 2 * SAMPLE_RATE
"""Beyond its hop, the other model is not waited for: it hangs, and what it would say is unknown."""


class Cascade:
    """Says of each window of one model whether it is worth being scored.

    It is if there is a cause anywhere in the window: the other model scored a label of what was new
    to it with at least the threshold, or could not score it; or the level reached its threshold.
    The whole window counts, and not its newest part alone, since the edges of a segment follow from
    all windows that show the sound.
    """

    def __init__(self, settings: ModelSettings, spec: BundleSpec, other_hop: int) -> None:
        """Set up for one source.

        Args:
            settings: with `cascade_from` or `cascade_level_dbfs`.
            spec: of the model whose windows are judged.
            other_hop: of the other model, in samples; 0 if there is none.
        """
        level = settings.cascade_level_dbfs
        self._least_power = np.inf if level is None else mean_square(level)
        self._least_score = settings.cascade_threshold
        self._waits_for_other = settings.cascade_from is not None
        self._spec = spec
        self._patience = _PATIENCE + other_hop
        self._longest = spec.window.samples
        self._causes: deque[tuple[int, int]] = deque()
        """From where to where, in order of their ends."""
        self._known_until = 0
        """How far the other model has scored the sound."""

    def hear(self, answer: Scores | Cut) -> None:
        """Take the other model's next answer."""
        begin = self._known_until
        if isinstance(answer, Scores):
            new = answer.end_sample - answer.new_samples
            if begin < new < answer.end_sample and begin:  # it left something out
                self._add(begin, new)
            if _peak(answer) >= self._least_score:
                self._add(new, answer.end_sample)
        self._known_until = max(begin, answer.end_sample)

    def judge(self, window: Window, behind: int) -> bool | None:
        """Whether a window is worth being scored.

        Args:
            window: the model's next one.
            behind: samples by which the one after it is older than the newest sound.

        Returns:
            None if that depends on what the other model will say.
        """
        begin = window.end_sample - window.new_samples
        if window.power >= self._least_power:
            self._add(begin, window.end_sample)
        while self._causes and self._causes[0][1] <= window.end_sample - self._longest:
            self._causes.popleft()
        if any(f < window.end_sample and e > window.first_sample for f, e in self._causes):
            return True
        if not self._waits_for_other or self._known_until >= window.end_sample:
            return False
        return True if behind > self._patience else None

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
        if not self._causes or self._causes[-1] != (first, end):
            self._causes.append((first, end))


def _peak(scores: Scores) -> float:
    """The highest score of any label in what is new."""
    found: list[FloatArray] = [x for x in (scores.clip, scores.frames) if x is not None and x.size]
    return max((float(x.max()) for x in found), default=0.0)
