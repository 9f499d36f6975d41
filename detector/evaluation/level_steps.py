"""The steps of a recording, with no more of the scores than thresholds tell apart: a byte each."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.detections import Detection
from detector.events.scores.steps import Step
from detector.events.segments.label_rules import LabelRule
from detector.events.segments.segmenter import Segmenter
from detector.records import SAMPLE_RATE, Event, Scores

_AT_ONCE: Final = 1000
"""Steps that are unpacked at a time."""
_NEVER: Final = 2**62


class LevelSteps:
    """Takes the steps of one model, and gives them again with each score rounded down to a level.

    The levels of a label are the onset and offset thresholds of all rules that are to be tried for
    it. Whether a score reaches one of them is the same before and after.
    """

    def __init__(self, rules: Mapping[LabelRule, Sequence[LabelRule]]) -> None:
        """Set up for one recording.

        Args:
            rules: for each label, by a rule of it, the rules to be tried, with at most 255
                thresholds in all.
        """
        self._columns = np.array([rule.index for rule in rules], int)
        self._place = {rule.slug: place for place, rule in enumerate(rules)}
        levels = [_levels(tried) for tried in rules.values()]
        most = max(map(len, levels), default=0)
        # (most + 1, labels): the first is what reaches none; behind the last stands infinity.
        self._levels = np.full((most + 1, len(levels)), np.inf, np.float32)
        self._levels[0] = 0
        for column, own in enumerate(levels):
            self._levels[1 : len(own) + 1, column] = own
        self._times = array("q")  # three a step
        self._flags = bytearray()
        self._codes = bytearray()  # (steps, labels)

    def add(self, step: Step) -> None:
        self._times.extend((step.onset_sample, step.offset_sample, step.end_sample))
        self._flags.append(step.new + 2 * step.prompt)
        scores = np.asarray(step.scores[self._columns], np.float32)
        self._codes += (self._levels[1:] <= scores).sum(axis=0).astype(np.uint8).tobytes()

    def adapt(self, rule: LabelRule) -> LabelRule:
        """The same rule, for the scores of these steps."""
        return replace(rule, index=self._place[rule.slug])

    def blocks(self) -> Iterator[list[Step]]:
        """The steps, some at a time."""
        labels = len(self._columns)
        for first in range(0, len(self._flags), _AT_ONCE):
            flags = self._flags[first : first + _AT_ONCE]
            codes: NDArray[np.uint8] = np.frombuffer(
                bytes(self._codes[first * labels : (first + len(flags)) * labels]), np.uint8
            ).reshape(len(flags), labels)
            scores = self._levels[codes, np.arange(labels)]
            times = np.array(self._times[3 * first : 3 * (first + len(flags))]).reshape(-1, 3)
            yield [
                Step(onset, offset, end, bool(flag & 1), row, prompt=bool(flag & 2))
                for (onset, offset, end), flag, row in zip(
                    times.tolist(), flags, scores, strict=True
                )
            ]


def _levels(rules: Sequence[LabelRule]) -> NDArray[np.float32]:
    thresholds = [[rule.onset_threshold, rule.offset_threshold] for rule in rules]
    return np.unique(np.array(thresholds, np.float32))  # as precise as the segmenter has them


def detections_with(
    rules: Sequence[LabelRule], steps: LevelSteps, duration_samples: int
) -> list[Detection]:
    """The segments that a segmenter with these rules makes of the steps of one recording."""
    segmenter = Segmenter("tuning", [steps.adapt(rule) for rule in rules], _NEVER)
    events: list[Event] = []
    for block in steps.blocks():
        end = block[-1].end_sample
        events += segmenter.push(Scores(end, end, 0, 0.0, None, None), block)
    events += segmenter.cut(duration_samples, [])
    return [
        Detection(event.onset_sample / SAMPLE_RATE, event.offset_sample / SAMPLE_RATE, event.label)
        for event in events
        if event.type == "end" and event.offset_sample is not None
    ]
