"""Segments from scores: a state machine for each label, with no clock but the sample index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detector.decibels import dbfs
from detector.events.scores.steps import Step
from detector.events.segments.label_rules import LabelRule
from detector.events.segments.loudness import Loudness
from detector.records import SAMPLE_RATE, Event, EventType, FloatArray, Scores

_SUMMED_SAMPLES: Final = 30 * SAMPLE_RATE
"""How much of a long segment is summed at once, so that its loudness can be forgotten."""


@dataclass(slots=True)
class _Segment:
    """A label that is active, or was a moment ago."""

    onset_sample: int
    offset_sample: int
    """Where the sound ends if it is not heard again. In the step of its onset at the earliest:
    in a long window the two edges of a short sound may seem to cross."""
    energy_until: int
    """How far its energy is summed: at most to its offset."""
    energy: float = 0.0
    """Power times samples from its onset up to there."""
    active_until: int = 0
    """End of the last step in which it was heard."""
    active: bool = True
    started: bool = False
    """Whether its start was reported."""
    reported_until: int = 0
    """End of the step in which it was last reported."""
    peak: float = 0.0
    total: float = 0.0
    steps: int = 0

    def extend(self, step: Step, score: float, loudness: Loudness) -> None:
        self.active = True
        self.active_until = step.end_sample
        self.offset_sample = max(self.offset_sample, step.offset_sample)
        if self.offset_sample - self.energy_until >= _SUMMED_SAMPLES:
            self.energy += loudness.energy(self.energy_until, self.offset_sample)
            self.energy_until = self.offset_sample
        self.peak = max(self.peak, score)
        self.total += score
        self.steps += 1


class Segmenter:
    """Turns what one model says of one source into events.

    A segment begins where a score reaches the label's onset threshold, goes on while it stays at
    or above the offset threshold, and ends when it has stayed below for the label's merge gap.
    Where scores rise with the sound itself, as those of frames do, its onset lies where the score
    passed the offset threshold on its way up: both edges are judged alike.
    Its start is reported once it has lasted the minimum duration; while it goes on there is an
    update now and then; its end has the offset.
    """

    _KEEP_LOUDNESS: Final = 120 * SAMPLE_RATE + _SUMMED_SAMPLES
    """How far back the loudness is needed, beside the merge gap: a segment's offset may lie as far
    back as the longest window, and what is not summed yet before it."""
    _LONGEST_RISE: Final = SAMPLE_RATE
    """A score that takes longer on its way up says nothing of when the sound began."""

    def __init__(self, model: str, rules: Sequence[LabelRule], update_samples: int) -> None:
        """Set up for one source.

        Args:
            model: name@version, for the events.
            rules: the labels that become events.
            update_samples: how often to report a segment that goes on.
        """
        self._model = model
        self._open: dict[int, _Segment] = {}  # by the rule's place
        self._known_until = 0
        self._apply(rules, update_samples)
        longest_pause = max((rule.merge_samples for rule in rules), default=0)
        self._loudness = Loudness(self._KEEP_LOUDNESS + longest_pause)

    @property
    def known_until(self) -> int:
        """How far the sound is known: no segment begins before this any more."""
        return self._known_until

    def retune(self, rules: Sequence[LabelRule], update_samples: int) -> list[Event]:
        """From now on go by other rules; what is open stays so if its label does.

        Segments of labels that are no longer wanted are cut off where the sound is known so far:
        of the same label, should it be wanted again, none begins before.
        """
        places = {rule.slug: place for place, rule in enumerate(rules)}
        events, kept = [], {}
        for place, segment in sorted(self._open.items()):
            new = places.get(self._rules[place].slug)
            if new is not None:
                kept[new] = segment
            elif segment.started:
                if segment.active:
                    segment.offset_sample = max(segment.offset_sample, self._known_until)
                events.append(self._event("end", place, segment, truncated=segment.active))
        # A score that is on its way up is remembered, unless now it has not come so far.
        rising = {self._rules[place].slug: begun for place, begun in self._rising.items()}
        passed = {rule.slug: rule.offset_threshold for rule in self._rules}
        self._open = kept
        self._apply(rules, update_samples)
        for place, rule in enumerate(rules):
            if rule.slug in rising and rule.offset_threshold <= passed[rule.slug]:
                self._rising[place] = rising[rule.slug]
        longest_pause = max((rule.merge_samples for rule in rules), default=0)
        self._loudness.keep(self._KEEP_LOUDNESS + longest_pause)
        return events

    def _apply(self, rules: Sequence[LabelRule], update_samples: int) -> None:
        self._rules = tuple(rules)
        self._update_samples = update_samples
        self._index = np.array([rule.index for rule in rules], int)
        self._onset = np.array([rule.onset_threshold for rule in rules], np.float32)
        self._offset = np.array([rule.offset_threshold for rule in rules], np.float32)
        # By the rule's place, where the score passed its offset threshold, while it is above.
        self._rising: dict[int, int] = {}

    def push(self, scores: Scores, steps: Sequence[Step]) -> list[Event]:
        """Take the scores of the next window, and the steps that are certain with them."""
        self._loudness.push(scores.end_sample, scores.new_samples, scores.power)
        return self._take(steps)

    def cut(self, end_sample: int, steps: Sequence[Step]) -> list[Event]:
        """Take the steps that were left, and end every segment.

        What comes after `end_sample` was not heard, or will not be.
        """
        events = self._take(steps)
        for place, segment in sorted(self._open.items()):
            if segment.active:  # it may have begun where another label was not decided yet
                segment.offset_sample = max(segment.onset_sample + 1, end_sample)
            if segment.started:
                events.append(self._event("end", place, segment, truncated=segment.active))
        self._open.clear()
        self._rising = {}
        self._known_until = end_sample
        return events

    def _take(self, steps: Sequence[Step]) -> list[Event]:
        if not steps:
            return []
        scores = np.array([step.scores for step in steps])[:, self._index]
        # In most steps nothing is heard: what is, is looked for once in all of them.
        above: dict[int, list[int]] = {}
        for i, place in np.argwhere(scores >= self._offset).tolist():
            above.setdefault(i, []).append(place)
        events = []
        for i, step in enumerate(steps):
            if i in above or self._open:
                events += self._step(step, scores[i], above.get(i, []))
            else:
                self._rising = {}
                self._known_until = max(self._known_until, step.end_sample)
        return events

    def _step(self, step: Step, scores: FloatArray, above: list[int]) -> list[Event]:
        """Bring all labels one step on.

        Args:
            step: the step.
            scores: (n_rules,) float32, its scores.
            above: the places of those that reach their offset threshold.
        """
        if step.prompt:
            rising = self._rising
            self._rising = {place: rising.get(place, step.onset_sample) for place in above}
        self._known_until = max(self._known_until, self._no_onset_before(step))
        reached = {place for place in above if scores[place] >= self._onset[place]}
        events = []
        for place in sorted(reached.union(self._open)):
            events += self._advance(place, step, float(scores[place]), at_onset=place in reached)
        return events

    def _advance(self, place: int, step: Step, score: float, *, at_onset: bool) -> list[Event]:
        """Bring the label at `place` one step on; `at_onset`: it reaches its onset threshold."""
        rule = self._rules[place]
        segment = self._open.get(place)
        if segment is None:
            if not step.new:
                return []
            onset = self._rise_began(place, step.onset_sample)
            segment = _Segment(onset, offset_sample=step.end_sample, energy_until=onset)
            self._open[place] = segment
        if (at_onset and step.new) or (segment.active and score >= self._offset[place]):
            segment.extend(step, score, self._loudness)
            return self._report(place, segment, step)
        segment.active = False
        quiet = self._rise_began(place, step.end_sample) - segment.active_until
        if step.new and quiet >= rule.merge_samples:
            del self._open[place]
            if segment.started:
                return [self._event("end", place, segment)]
        return []

    def _rise_began(self, place: int, sample: int) -> int:
        """Where the score of `place` began to rise, if it is rising at `sample`; else that."""
        rising = self._rising.get(place, sample)
        return rising if sample - rising <= self._LONGEST_RISE else sample

    def _no_onset_before(self, step: Step) -> int:
        """Before which no segment can begin any more."""
        return min(
            (
                rising
                for place, rising in self._rising.items()
                if place not in self._open and step.end_sample - rising <= self._LONGEST_RISE
            ),
            default=step.end_sample,
        )

    def _report(self, place: int, segment: _Segment, step: Step) -> list[Event]:
        """The event that is due of a segment that is heard in `step`, if any."""
        kind: EventType
        if not segment.started:
            if step.end_sample - segment.onset_sample < self._rules[place].min_samples:
                return []
            segment.started, kind = True, "start"
        elif step.end_sample - segment.reported_until >= self._update_samples:
            kind = "update"
        else:
            return []
        segment.reported_until = step.end_sample
        return [self._event(kind, place, segment)]

    def _event(
        self, kind: EventType, place: int, segment: _Segment, *, truncated: bool = False
    ) -> Event:
        rule = self._rules[place]
        onset, offset = segment.onset_sample, segment.offset_sample
        until = max(segment.energy_until, offset if kind == "end" else segment.active_until)
        energy = segment.energy + self._loudness.energy(segment.energy_until, until)
        return Event(
            type=kind,
            model=self._model,
            label=rule.slug,
            name=rule.name,
            onset_sample=onset,
            offset_sample=offset if kind == "end" else None,
            peak=segment.peak,
            mean=segment.total / segment.steps,
            level_dbfs=dbfs(energy / (until - onset)),
            truncated=truncated,
        )
