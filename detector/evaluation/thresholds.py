"""Thresholds for a wanted rate of false alarms.

What the segmenter saw is given to it again under one threshold after the other, so that each is
judged by the very events it would have made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detector.configured_model import ConfiguredModel
from detector.evaluation.detections import (
    Detection,
    Reference,
    false_alarms,
    matched_pairs,
    merge_overlapping,
)
from detector.evaluation.level_steps import LevelSteps, detections_with
from detector.events.segments.label_rules import LabelRule
from detector.records import SAMPLE_RATE

LOWEST: Final = 0.05
"""A sound that the model believes in less than this is none, however few false alarms it makes."""
GRID: Final = tuple(
    np.unique(np.round(1 / (1 + np.exp(-np.linspace(np.log(LOWEST / (1 - LOWEST)), 6.9, 100))), 3))[
        ::-1
    ].tolist()
)
"""Onset thresholds from the highest to the lowest, evenly spaced as logits."""


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
class TuningRecording:
    """What tuning a model needs of one recording."""

    duration_samples: int
    steps: LevelSteps
    """Of `recorder` for this model."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A threshold that was tried for one label."""

    rule: LabelRule
    detected: int
    false_alarms: int


def recorder(configured: ConfiguredModel) -> LevelSteps:
    """What takes the steps of a recording in which `tune` shall try thresholds."""
    rules = configured.label_rules
    return LevelSteps({rule: [_at(rule, threshold) for threshold in GRID] for rule in rules})


def tune(
    configured: ConfiguredModel,
    recordings: Mapping[str, TuningRecording],
    reference: Reference,
    false_alarms_per_hour: float,
) -> list[Threshold]:
    """Choose the thresholds of one model, each label by itself.

    From high to low, thresholds are tried until one makes more false alarms than are wanted; of
    those before it, the lowest that detects as many events as any is taken. A label without events
    in the reference never gets a lower threshold than it has, since nothing speaks for one.

    Args:
        configured: a model that scores labels; its settings are where the thresholds start from.
        recordings: by name.
        reference: the true events of each recording.
        false_alarms_per_hour: of each label.
    """
    rules = configured.label_rules
    slugs = [rule.slug for rule in rules]
    truth = {name: merge_overlapping(reference.get(name, ()), slugs) for name in recordings}
    seconds = sum(one.duration_samples for one in recordings.values()) / SAMPLE_RATE
    allowed = false_alarms_per_hour * seconds / 3600
    candidates: dict[str, list[_Candidate]] = {slug: [] for slug in slugs}
    pending = list(rules)
    for threshold in GRID:
        tried = _try([_at(rule, threshold) for rule in pending], recordings, truth)
        for candidate in tried:
            candidates[candidate.rule.slug].append(candidate)
        going_on = {one.rule.slug for one in tried if one.false_alarms <= allowed}
        pending = [rule for rule in pending if rule.slug in going_on]
        if not pending:
            break
    chosen = []
    for rule in rules:
        count = sum(true.label == rule.slug for events in truth.values() for true in events)
        good = [one for one in candidates[rule.slug] if one.false_alarms <= allowed]
        if good and not count:
            high = [one for one in good if one.rule.onset_threshold >= rule.onset_threshold]
            good = high or good[:1]
        best = max(good or candidates[rule.slug][:1], key=lambda one: one.detected)
        best = [one for one in good if one.detected == best.detected][-1] if good else best
        chosen.append(
            Threshold(
                slug=rule.slug,
                onset=best.rule.onset_threshold,
                offset=best.rule.offset_threshold,
                reference_events=count,
                heard_events=best.detected,
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
    recordings: Mapping[str, TuningRecording],
    truth: Mapping[str, Sequence[Detection]],
) -> list[_Candidate]:
    alarms = dict.fromkeys((rule.slug for rule in rules), 0)
    hits = dict(alarms)
    for name, recording in recordings.items():
        events = detections_with(rules, recording.steps, recording.duration_samples)
        for rule in rules:
            true = [event for event in truth[name] if event.label == rule.slug]
            found = [event for event in events if event.label == rule.slug]
            alarms[rule.slug] += false_alarms(true, found)
            hits[rule.slug] += len(matched_pairs(true, found))
    return [_Candidate(rule, hits[rule.slug], alarms[rule.slug]) for rule in rules]
