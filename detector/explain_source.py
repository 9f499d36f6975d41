"""Why a source had an event at a time, or none: its memory in samples, answered in UTC."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from detector.capture.clock import Clock
from detector.errors import ConfigError
from detector.events.explain.segment_log import SegmentLog, SegmentRecord
from detector.explanations import MEMORY_S, Finding, LabelFacts, PatternFacts
from detector.publish.commands.replies import Explanation, LabelExplanation, PatternExplanation
from detector.records import SAMPLE_RATE, Gap, SourceStatus

_OUTAGE: Final[frozenset[SourceStatus]] = frozenset(("stalled", "offline"))
"""While a source is so, no sound comes."""


class Explaining(Protocol):
    """What a pipeline says of a stretch of sound."""

    def explain(
        self, first_sample: int, end_sample: int, records: Sequence[SegmentRecord]
    ) -> Sequence[Finding[LabelFacts]]: ...

    def explain_patterns(
        self, first_sample: int, end_sample: int, records: Sequence[SegmentRecord]
    ) -> Sequence[Finding[PatternFacts]]: ...


@dataclass(frozen=True, slots=True)
class SourceMemory:
    """What a source remembers, now."""

    name: str
    status: SourceStatus
    clock: Clock
    end_sample: int
    """Where the sound ends that has come so far."""
    gaps: Iterable[Gap]
    """The last ones, those that are over."""
    segments: SegmentLog
    pipeline: Explaining

    def missed_samples(self, first_sample: int, end_sample: int) -> Counter[str | None]:
        """How much of a stretch was in gaps: of all models (None), and of single ones beside."""
        missed: Counter[str | None] = Counter()
        for gap in self.gaps:
            end, first = min(end_sample, gap.end_sample), max(first_sample, gap.first_sample)
            missed[gap.model] += max(0, end - first)
        return missed

    def unheard_samples(self, first_sample: int, end_sample: int, now_sample: int) -> int:
        """How much of a stretch no model heard: in gaps, or in an outage that goes on."""
        gaps = self.missed_samples(first_sample, end_sample)[None]
        if self.status not in _OUTAGE:  # what has not come yet is on its way
            return gaps
        return gaps + max(0, min(end_sample, now_sample) - max(first_sample, self.end_sample))


def explain_source(source: SourceMemory, at: datetime, within_s: float) -> Explanation:
    """Say what was heard around a time, and why it was an event, or not.

    Raises:
        ConfigError: if nothing is known of that time.
    """
    now = datetime.now(UTC)
    ago_s = (now - at).total_seconds()
    if ago_s < 0:
        raise ConfigError(f"at: {at.isoformat()} has not come yet")
    clock = source.clock
    if not clock.started:
        raise ConfigError(f"{source.name} has not heard anything yet")
    centre, now_sample = clock.sample_at_utc(at), round(clock.sample_at_utc(now))
    first, end = (round(centre + sign * within_s * SAMPLE_RATE) for sign in (-1, 1))
    if ago_s > MEMORY_S or end <= 0:
        raise ConfigError(
            f"at: {at.isoformat()}: only the last {MEMORY_S // 60} minutes are remembered, "
            "since the source began"
        )
    records = list(source.segments.between(first, end))
    labels = source.pipeline.explain(first, end, records)
    patterns = source.pipeline.explain_patterns(first, end, records)
    return Explanation(
        source=source.name,
        begin=clock.utc(first),
        end=clock.utc(end),
        status=source.status,
        not_heard_s=round(source.unheard_samples(first, end, now_sample) / SAMPLE_RATE, 3),
        not_heard_by={
            model: round(samples / SAMPLE_RATE, 3)
            for model, samples in source.missed_samples(first, end).items()
            if model and samples
        },
        labels=tuple(LabelExplanation(**_in_utc(finding, clock)) for finding in labels),
        patterns=tuple(PatternExplanation(**_in_utc(finding, clock)) for finding in patterns),
    )


def _in_utc(finding: Finding[LabelFacts] | Finding[PatternFacts], clock: Clock) -> dict[str, Any]:
    onset, offset = finding.onset_sample, finding.offset_sample
    return {
        **finding.facts.model_dump(),
        "onset": None if onset is None else clock.utc(onset),
        "offset": None if offset is None else clock.utc(offset),
    }
