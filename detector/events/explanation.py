"""Why a sound was an event, or was not: the rules, applied again to what is remembered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from detector.events.history import Heard, Outcome
from detector.events.labels import LabelRule
from detector.records import SAMPLE_RATE
from detector.spec import BundleSpec

Why = Literal[
    "event", "merged", "muted", "quiet_hours", "disabled", "below_onset_threshold",
    "shorter_than_min_duration", "nothing_new",
]  # fmt: skip
"""What became of a label.

event: an event of it began there;
merged: it is a part of an event that had begun before;
muted, quiet_hours: its event was held back;
disabled: the label does not become events;
below_onset_threshold: it never reached the score at which an event begins;
shorter_than_min_duration: it did, for too short a time;
nothing_new: it did only in what was no new sound, as at the end of a long window.
"""

_SLACK: Final = SAMPLE_RATE // 2
"""Edges of a tagger's events are known to within a hop."""
_LEAST: Final = 0.05
"""A lower score says nothing of what was heard."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of one label of one model."""

    model: str
    """name@version, as in events."""
    label: str
    name: str
    peak: float
    """The highest score, as the segmenter saw it."""
    onset_threshold: float | None
    """None if the label does not become events."""
    why: Why
    onset_sample: int | None = None
    """Of the event that it was, or would have been."""
    offset_sample: int | None = None


def explain(
    spec: BundleSpec,
    rules: Sequence[LabelRule],
    heard: Sequence[Heard],
    outcomes: Sequence[Outcome],
    first_sample: int,
) -> list[Explained]:
    """Say what became of each label that stood out, the highest score first.

    Args:
        spec: the model.
        rules: by which it goes.
        heard: what is remembered of the stretch of sound that is asked for.
        outcomes: of this model's segments in that stretch.
        first_sample: where that stretch begins.
    """
    # If a label was both told and held back there, it was told.
    told_last = sorted(outcomes, key=lambda outcome: outcome.held is None)
    by_label = {outcome.label: outcome for outcome in told_last}
    peaks = {
        index: 0.0 for index, label in enumerate(spec.labels) if label.slug in by_label
    }  # even if others were louder
    for moment in heard:
        for index, score in zip(moment.labels.tolist(), moment.scores.tolist(), strict=True):
            if score >= _LEAST or index in peaks:
                peaks[index] = max(score, peaks.get(index, 0.0))
    by_index = {rule.index: rule for rule in rules}
    explained = []
    for index, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        label, rule = spec.labels[index], by_index.get(index)
        outcome = by_label.get(label.slug)
        explained.append(
            Explained(
                model=spec.id,
                label=label.slug,
                name=label.name,
                peak=peak,
                onset_threshold=rule.onset_threshold if rule else None,
                why=_why(rule, peak, outcome, first_sample),
                onset_sample=outcome.onset_sample if outcome else None,
                offset_sample=outcome.offset_sample if outcome else None,
            )
        )
    return explained


def _why(rule: LabelRule | None, peak: float, outcome: Outcome | None, first_sample: int) -> Why:
    if outcome and outcome.held:
        return outcome.held
    if outcome:
        return "event" if outcome.onset_sample >= first_sample - _SLACK else "merged"
    if rule is None:
        return "disabled"
    if peak < rule.onset_threshold:
        return "below_onset_threshold"
    return "shorter_than_min_duration" if rule.min_samples else "nothing_new"
