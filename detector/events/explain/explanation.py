"""Why a sound was an event, or was not: the rules, applied again to what is remembered."""

from collections.abc import Sequence
from typing import Final

from detector.events.explain.label_occurrences import LabelOccurrences
from detector.events.explain.score_memory import ScoreBucket
from detector.events.explain.segment_log import SegmentRecord
from detector.events.patterns.composite import PATTERNS_MODEL
from detector.events.patterns.loud_unlabelled import Stretch
from detector.events.segments.label_rules import LabelRule
from detector.explanations import (
    Facts,
    Finding,
    LabelFacts,
    LabelOutcome,
    PatternFacts,
    PatternOutcome,
    SegmentOutcome,
)
from detector.records import SAMPLE_RATE
from detector.settings.patterns import LoudUnlabelledSettings, PatternSettings, RepetitionSettings
from detector.spec import BundleSpec

_SLACK: Final = SAMPLE_RATE // 2
"""Edges of a tagger's events are known to within a hop."""
_LEAST_SCORE: Final = 0.05
"""A lower score says nothing of what was heard."""


def explain_labels(
    spec: BundleSpec,
    rules: Sequence[LabelRule],
    buckets: Sequence[ScoreBucket],
    records: Sequence[SegmentRecord],
    first_sample: int,
) -> list[Finding[LabelFacts]]:
    """Say what became of each label that stood out, the highest score first.

    Args:
        spec: the model.
        rules: by which it goes.
        buckets: its scores in the stretch of sound that is asked for.
        records: of this model's segments in that stretch.
        first_sample: where that stretch begins.
    """
    by_label = _by_label(records)
    peaks = {
        index: 0.0 for index, label in enumerate(spec.labels) if label.slug in by_label
    }  # even if others were louder
    for bucket in buckets:
        for index, score in zip(bucket.labels.tolist(), bucket.scores.tolist(), strict=True):
            if score >= _LEAST_SCORE or index in peaks:
                peaks[index] = max(score, peaks.get(index, 0.0))
    by_index = {rule.index: rule for rule in rules}
    findings = []
    for index, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        label, rule = spec.labels[index], by_index.get(index)
        record = by_label.get(label.slug)
        facts = LabelFacts(
            model=spec.id,
            label=label.slug,
            name=label.name,
            peak=round(peak, 4),
            onset_threshold=rule.onset_threshold if rule else None,
            why=_label_outcome(rule, peak, record, first_sample),
        )
        findings.append(_finding(facts, record))
    return findings


def explain_pattern(
    slug: str,
    settings: PatternSettings,
    records: Sequence[SegmentRecord],
    stretch: tuple[int, int],
    occurrences: LabelOccurrences,
    loudest: Stretch | None,
) -> Finding[PatternFacts]:
    """Say what became of a pattern in a stretch of sound.

    Args:
        slug: of the pattern.
        settings: its own.
        records: of segments in that stretch.
        stretch: its first sample and its end.
        occurrences: of the pattern's labels.
        loudest: of what a pattern of loudness judged in that stretch.
    """
    own = [record for record in records if record.segment.model == PATTERNS_MODEL]
    record = _by_label(own).get(slug)
    heard = occurrences.between(*stretch)
    why: PatternOutcome
    if record:
        why = _segment_outcome(record, stretch[0])
    elif stretch[1] <= occurrences.since:
        why = "not_set_up"
    elif isinstance(settings, RepetitionSettings) and heard:
        why = "no_rhythm"
    elif not isinstance(settings, LoudUnlabelledSettings) or loudest is None:
        why = "not_heard"
    elif loudest.level_dbfs < settings.threshold_dbfs:
        why = "not_loud"
    else:
        why = "labelled" if loudest.labelled else "shorter_than_min_duration"
    facts = PatternFacts(
        pattern=slug,
        name=settings.display_name(slug),
        kind=settings.kind,
        why=why,
        heard=heard,
        level_dbfs=None if loudest is None else round(loudest.level_dbfs, 1),
    )
    return _finding(facts, record)


def _finding(facts: Facts, record: SegmentRecord | None) -> Finding[Facts]:
    if record is None:
        return Finding(facts, None, None)
    return Finding(facts, record.onset_sample, record.offset_sample)


def _by_label(records: Sequence[SegmentRecord]) -> dict[str, SegmentRecord]:
    """If a label was both published and suppressed there, it was published."""
    published_last = sorted(records, key=lambda record: record.suppressed_by is None)
    return {record.segment.label: record for record in published_last}


def _label_outcome(
    rule: LabelRule | None, peak: float, record: SegmentRecord | None, first_sample: int
) -> LabelOutcome:
    if record:
        return _segment_outcome(record, first_sample)
    if rule is None:
        return "disabled"
    if peak < rule.onset_threshold:
        return "below_onset_threshold"
    return "shorter_than_min_duration" if rule.min_samples else "nothing_new"


def _segment_outcome(record: SegmentRecord, first_sample: int) -> SegmentOutcome:
    if record.suppressed_by:
        return record.suppressed_by
    return "event" if record.onset_sample >= first_sample - _SLACK else "merged"
