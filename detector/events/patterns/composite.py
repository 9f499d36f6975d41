"""Segments that are made of other events, with their score and level."""

from dataclasses import dataclass, replace
from typing import Final

from detector.decibels import dbfs, mean_square
from detector.records import Event, EventType

PATTERNS_MODEL: Final = "patterns@1"
"""What stands where other events have the model's name and version."""


@dataclass(frozen=True, slots=True)
class CompositeLabel:
    """What a pattern's events are called, and how often one that goes on is updated."""

    slug: str
    name: str
    update_samples: int


@dataclass(frozen=True, slots=True)
class WeightedScore:
    """Score and power of several events, each weighted by its length."""

    samples: int = 0
    score_sum: float = 0.0
    """Over all samples."""
    power_sum: float = 0.0
    peak: float = 0.0

    @classmethod
    def of(cls, event: Event, known_until: int) -> "WeightedScore":
        """Of an event that ended, or goes on and is known so far."""
        offset = known_until if event.offset_sample is None else event.offset_sample
        samples = max(1, offset - event.onset_sample)
        power = mean_square(event.level_dbfs)
        return cls(samples, samples * event.mean, samples * power, event.peak)

    def __add__(self, other: "WeightedScore") -> "WeightedScore":
        return WeightedScore(
            self.samples + other.samples,
            self.score_sum + other.score_sum,
            self.power_sum + other.power_sum,
            max(self.peak, other.peak),
        )


NO_SCORE: Final = WeightedScore()


@dataclass(frozen=True, slots=True)
class CompositeSegment:
    """A segment of a pattern, from its start to its end."""

    label: CompositeLabel
    onset_sample: int
    offset_sample: int
    """Where it ends if nothing follows."""
    reported_until: int
    """How far the sound was known when it was last reported."""
    score: WeightedScore = NO_SCORE

    def extended(self, offset_sample: int, score: WeightedScore) -> "CompositeSegment":
        """With more that belongs to it."""
        offset = max(self.offset_sample, offset_sample)
        return replace(self, offset_sample=offset, score=self.score + score)

    def if_update_is_due(self, known_until: int) -> "CompositeSegment | None":
        """As of now, if it is time for an update."""
        due = known_until - self.reported_until >= self.label.update_samples
        return replace(self, reported_until=known_until) if due else None

    def event(
        self, kind: EventType, more: WeightedScore = NO_SCORE, *, truncated: bool = False
    ) -> Event:
        """An event of it; `more` is the score of what goes on beside what has ended."""
        score = self.score + more
        samples = max(1, score.samples)
        return Event(
            type=kind,
            model=PATTERNS_MODEL,
            label=self.label.slug,
            name=self.label.name,
            onset_sample=self.onset_sample,
            offset_sample=self.offset_sample if kind == "end" else None,
            peak=score.peak,
            mean=min(score.score_sum / samples, score.peak),
            level_dbfs=dbfs(score.power_sum / samples),
            truncated=truncated,
        )
