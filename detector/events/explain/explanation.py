"""Why a sound was an event, or was not: the rules, applied again to what is remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from detector.events.explain.memory import Heard, HeardLabels, Outcome
from detector.events.patterns.composite import PATTERNS_MODEL
from detector.events.patterns.loud_unlabelled import Stretch
from detector.events.segments.label_rules import LabelRule
from detector.records import SAMPLE_RATE
from detector.settings.patterns import LoudUnlabelledSettings, PatternSettings, RepetitionSettings
from detector.spec import BundleSpec

Became = Literal["event", "merged", "muted", "quiet_hours"]

Why = (
    Became
    | Literal["disabled", "below_onset_threshold", "shorter_than_min_duration", "nothing_new"]
)
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
    by_label = _by_label(outcomes)
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


def _by_label(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """If a label was both told and held back there, it was told."""
    told_last = sorted(outcomes, key=lambda outcome: outcome.held is None)
    return {outcome.segment.label: outcome for outcome in told_last}


def _why(rule: LabelRule | None, peak: float, outcome: Outcome | None, first_sample: int) -> Why:
    if outcome:
        return _became(outcome, first_sample)
    if rule is None:
        return "disabled"
    if peak < rule.onset_threshold:
        return "below_onset_threshold"
    return "shorter_than_min_duration" if rule.min_samples else "nothing_new"


def _became(outcome: Outcome, first_sample: int) -> Became:
    if outcome.held:
        return outcome.held
    return "event" if outcome.onset_sample >= first_sample - _SLACK else "merged"


PatternWhy = (
    Became
    | Literal[
        "not_heard", "no_rhythm", "not_loud", "labelled", "shorter_than_min_duration",
        "not_set_up",
    ]
)  # fmt: skip
"""What became of a pattern.

event, merged, muted, quiet_hours: as of a label;
not_heard: none of its labels was heard (loud_unlabelled: nothing was);
no_rhythm: its label was heard, but so far not in its rhythm;
not_loud: the level was below its threshold;
labelled: it was loud, and a label accounts for it;
shorter_than_min_duration: it was loud and no label accounts for it, for too short a time;
not_set_up: the pattern came later, or was changed after that.
"""


@dataclass(frozen=True, slots=True)
class ExplainedPattern:
    """What became of one pattern."""

    pattern: str
    """Its slug."""
    name: str
    kind: str
    why: PatternWhy
    heard: Mapping[str, int]
    """How often each of the labels that it listens for was heard, however shortly."""
    level_dbfs: float | None
    """loud_unlabelled: of the loudest stretch; of one that no label accounts for, if it is loud."""
    onset_sample: int | None
    """Of the event that it was, or would have been."""
    offset_sample: int | None


def explain_pattern(
    slug: str,
    settings: PatternSettings,
    outcomes: Sequence[Outcome],
    stretch: tuple[int, int],
    labels: HeardLabels,
    loudest: Stretch | None,
) -> ExplainedPattern:
    """Say what became of a pattern in a stretch of sound.

    Args:
        slug: of the pattern.
        settings: its own.
        outcomes: of segments in that stretch.
        stretch: its first sample and its end.
        labels: what the pattern heard.
        loudest: of what a pattern of loudness judged in that stretch.
    """
    outcome = _by_label([o for o in outcomes if o.segment.model == PATTERNS_MODEL]).get(slug)
    heard = labels.between(*stretch)
    why: PatternWhy
    if outcome:
        why = _became(outcome, stretch[0])
    elif stretch[1] <= labels.since:
        why = "not_set_up"
    elif isinstance(settings, RepetitionSettings) and heard:
        why = "no_rhythm"
    elif not isinstance(settings, LoudUnlabelledSettings) or loudest is None:
        why = "not_heard"
    elif loudest.level_dbfs < settings.threshold_dbfs:
        why = "not_loud"
    else:
        why = "labelled" if loudest.labelled else "shorter_than_min_duration"
    return ExplainedPattern(
        pattern=slug,
        name=settings.display_name(slug),
        kind=settings.kind,
        why=why,
        heard=heard,
        level_dbfs=None if loudest is None else loudest.level_dbfs,
        onset_sample=outcome.onset_sample if outcome else None,
        offset_sample=outcome.offset_sample if outcome else None,
    )
