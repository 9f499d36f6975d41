"""Thresholds for a wanted rate of false alarms.

What the segmenter saw is given to it again under one threshold after the other, so that each is
judged by the very events it would have made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detector.configured_model import Listener
from detector.evaluation.hearing import Heard
from detector.evaluation.scoring import Detection, Reference, false_alarms, joined, pairs
from detector.events.scores.steps import Step
from detector.events.segments.label_rules import LabelRule, label_rules
from detector.events.segments.segmenter import Segmenter
from detector.records import SAMPLE_RATE, Event, Scores

LOWEST: Final = 0.05
"""A sound that the model believes in less than this is none, however few false alarms it makes."""
GRID: Final = tuple(
    np.unique(np.round(1 / (1 + np.exp(-np.linspace(np.log(LOWEST / (1 - LOWEST)), 6.9, 100))), 3))[
        ::-1
    ].tolist()
)
"""Onset thresholds from the highest to the lowest, evenly spaced as logits."""
_NEVER: Final = 2**62


@dataclass(frozen=True, slots=True)
class Threshold:
    """What was chosen for one label of one model, and what it does on the recordings given."""

    slug: str
    onset: float
    offset: float
    """The same part of the onset threshold as before."""
    reference_events: int
    heard_events: int
    """Reference events that have a detected one of their own."""
    false_alarms: int
    reached: bool
    """Whether the false alarms are as few as was wanted; if not, this is the highest threshold."""


@dataclass(frozen=True, slots=True)
class _Trial:
    rule: LabelRule
    heard: int
    false_alarms: int


def tune(
    listener: Listener,
    place: int,
    heard: Mapping[str, Heard],
    reference: Reference,
    false_alarms_per_hour: float,
) -> list[Threshold]:
    """Choose the thresholds of one model, each label by itself.

    From high to low, thresholds are tried until one makes more false alarms than are wanted; of
    those before it, the lowest that hears as many events as any is taken. A label without events
    in the reference never gets a lower threshold than it has, since nothing speaks for one.

    Args:
        listener: a model that scores labels; its settings are where the thresholds start from.
        place: of this model in `Heard.steps`.
        heard: what was heard in each recording.
        reference: the true events of each recording.
        false_alarms_per_hour: of each label.
    """
    rules = label_rules(listener.spec, listener.settings)
    slugs = [rule.slug for rule in rules]
    truth = {name: joined(reference.get(name, ()), slugs) for name in heard}
    allowed = false_alarms_per_hour * sum(one.duration_s for one in heard.values()) / 3600
    trials: dict[str, list[_Trial]] = {slug: [] for slug in slugs}
    pending = rules
    for threshold in GRID:
        tried = _try([_at(rule, threshold) for rule in pending], place, heard, truth)
        for trial in tried:
            trials[trial.rule.slug].append(trial)
        going_on = {trial.rule.slug for trial in tried if trial.false_alarms <= allowed}
        pending = [rule for rule in pending if rule.slug in going_on]
        if not pending:
            break
    chosen = []
    for rule in rules:
        count = sum(true.label == rule.slug for events in truth.values() for true in events)
        good = [trial for trial in trials[rule.slug] if trial.false_alarms <= allowed]
        if good and not count:
            high = [trial for trial in good if trial.rule.onset_threshold >= rule.onset_threshold]
            good = high or good[:1]
        best = max(good or trials[rule.slug][:1], key=lambda trial: trial.heard)
        best = [trial for trial in good if trial.heard == best.heard][-1] if good else best
        chosen.append(
            Threshold(
                slug=rule.slug,
                onset=best.rule.onset_threshold,
                offset=best.rule.offset_threshold,
                reference_events=count,
                heard_events=best.heard,
                false_alarms=best.false_alarms,
                reached=bool(good),
            )
        )
    return chosen


def _at(rule: LabelRule, threshold: float) -> LabelRule:
    part = rule.offset_threshold / rule.onset_threshold if rule.onset_threshold else 1.0
    offset = min(threshold, round(part * threshold, 3))
    return replace(rule, onset_threshold=threshold, offset_threshold=offset)


def _try(
    rules: Sequence[LabelRule],
    place: int,
    heard: Mapping[str, Heard],
    truth: Mapping[str, Sequence[Detection]],
) -> list[_Trial]:
    alarms = dict.fromkeys((rule.slug for rule in rules), 0)
    hits = dict(alarms)
    for name, one in heard.items():
        events = retell(one.steps[place], rules, one.duration_samples)
        for rule in rules:
            true = [event for event in truth[name] if event.label == rule.slug]
            found = [event for event in events if event.label == rule.slug]
            alarms[rule.slug] += false_alarms(true, found)
            hits[rule.slug] += len(pairs(true, found))
    return [_Trial(rule, hits[rule.slug], alarms[rule.slug]) for rule in rules]


def retell(
    steps: Sequence[Step], rules: Sequence[LabelRule], duration_samples: int
) -> list[Detection]:
    """The segments that a segmenter with these rules makes of the steps of one recording."""
    segmenter = Segmenter("retold", rules, _NEVER)
    whole = Scores(0, duration_samples, duration_samples, 0.0, None, None)
    events: list[Event] = [*segmenter.push(whole, steps), *segmenter.cut(duration_samples, ())]
    return [
        Detection(event.onset_sample / SAMPLE_RATE, event.offset_sample / SAMPLE_RATE, event.label)
        for event in events
        if event.type == "end" and event.offset_sample is not None
    ]
