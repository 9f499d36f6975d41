"""The last minutes of a source: what was scored, and what became of it. For those who ask why.

Kept in memory alone, and bounded: of each quarter of a second or hop the highest scores of each
model, and what became of the last few hundred segments.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detector.events.scores.steps import Step
from detector.events.segments.gate import Held
from detector.records import SAMPLE_RATE, Event, FloatArray, SegmentKey

KEPT_S: Final = 600
"""How far back it goes."""
_BUCKET: Final = SAMPLE_RATE // 4
_TOP: Final = 10
"""How many labels of a bucket are kept."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The highest scores of a short stretch of sound, as the segmenter saw them."""

    first_sample: int
    end_sample: int
    labels: "np.ndarray[tuple[int], np.dtype[np.intp]]"
    """Places in the model's labels, the highest score first."""
    scores: FloatArray
    """(n,) float32, of these labels."""


@dataclass(slots=True)
class Outcome:
    """What became of a segment, or of the part of it that was told or held back."""

    segment: SegmentKey
    onset_sample: int
    offset_sample: int | None
    """None while it goes on."""
    held: Held | None
    """None if it was told."""


class Outcomes:
    """What became of a source's last segments."""

    _MOST: Final = 500

    def __init__(self) -> None:
        self._kept: deque[Outcome] = deque(maxlen=self._MOST)

    def add(self, event: Event, held: Held | None, now_sample: int) -> None:
        """Take note of an event.

        Args:
            event: of the source's next event.
            held: why nothing may begin now.
            now_sample: how far the source was heard.
        """
        if event.type == "start":
            self._kept.append(Outcome(event.segment, event.onset_sample, None, held))
            return
        for outcome in reversed(self._kept):
            if outcome.segment == event.segment:
                if event.type == "end":
                    outcome.offset_sample = event.offset_sample
                elif outcome.held and outcome.held != held:
                    self._split(outcome, held, now_sample)
                return

    def mute(self, now_sample: int) -> None:
        """What goes on and was told is held back from now on."""
        for outcome in [o for o in self._kept if o.offset_sample is None and not o.held]:
            self._split(outcome, "muted", now_sample)

    def _split(self, outcome: Outcome, held: Held | None, sample: int) -> None:
        outcome.offset_sample = sample
        self._kept.append(replace(outcome, onset_sample=sample, offset_sample=None, held=held))

    def between(self, first_sample: int, end_sample: int) -> Iterator[Outcome]:
        """Of the segments in a stretch of sound."""
        return (
            outcome
            for outcome in self._kept
            if outcome.onset_sample < end_sample
            and (outcome.offset_sample is None or outcome.offset_sample > first_sample)
        )


class HeardLabels:
    """What a pattern heard of its labels: each stretch, however short."""

    _MOST: Final = 4096

    def __init__(self, labels: Collection[str], since: int) -> None:
        """Set up for these slugs."""
        self.since = since
        """Nothing is known of what was before this."""
        self._labels = frozenset(labels)
        self._begun: dict[SegmentKey, Event] = {}
        self._ended: deque[tuple[str, int, int]] = deque()

    def add(self, event: Event) -> None:
        """Take the next event of any label."""
        if event.label not in self._labels:
            return
        if event.offset_sample is None:
            self._begun[event.segment] = event
            return
        self._begun.pop(event.segment, None)
        self._ended.append((event.label, event.onset_sample, event.offset_sample))
        while (
            len(self._ended) > self._MOST
            or self._ended[0][2] < event.offset_sample - KEPT_S * SAMPLE_RATE
        ):
            self.since = max(self.since, self._ended.popleft()[2])

    def between(self, first_sample: int, end_sample: int) -> dict[str, int]:
        """How often each label was heard in a stretch of sound, if it was."""
        going_on = ((e.label, e.onset_sample, end_sample) for e in self._begun.values())
        return dict(
            Counter(
                label
                for label, onset, offset in (*self._ended, *going_on)
                if onset < end_sample and offset > first_sample
            )
        )


class ScoreHistory:
    """The scores of one model for one source."""

    def __init__(self) -> None:
        self._kept: deque[Heard] = deque()
        self._best: FloatArray | None = None
        self._first = self._end = self._due = 0

    def add(self, step: Step) -> None:
        """Take the next step."""
        if self._best is None:
            # A long window shows in each step the sounds of all its length.
            self._first = min(step.onset_sample, step.offset_sample)
            self._due = step.onset_sample + _BUCKET
            self._best = step.scores
        else:
            self._best = np.maximum(self._best, step.scores)
        self._end = step.end_sample
        if self._end >= self._due:
            self._kept.append(self._heard(self._best))
            self._best = None
            while self._kept[0].end_sample < self._end - KEPT_S * SAMPLE_RATE:
                self._kept.popleft()

    def between(self, first_sample: int, end_sample: int) -> Iterator[Heard]:
        """What was heard in a stretch, or near enough that the model saw it."""
        latest = [] if self._best is None else [self._heard(self._best)]
        return (
            heard
            for heard in (*self._kept, *latest)
            if heard.first_sample < end_sample and heard.end_sample > first_sample
        )

    def _heard(self, best: FloatArray) -> Heard:
        top = np.argsort(best)[: -_TOP - 1 : -1].copy()  # a view would keep all of it
        return Heard(self._first, self._end, top, best[top])
