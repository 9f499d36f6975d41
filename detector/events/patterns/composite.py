"""Events that are made of other events: how they are told, and what they say of score and level."""

from dataclasses import dataclass, replace
from typing import Final

from detector.decibels import dbfs, mean_square
from detector.records import Event, EventType

MODEL: Final = "patterns@1"
"""What stands where other events have the model's name and version."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a pattern's events are called, and how often one that goes on is told."""

    slug: str
    name: str
    update_samples: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Score and level of several events, each by its length."""

    samples: int = 0
    score: float = 0.0
    """Sum over samples, as is power."""
    power: float = 0.0
    peak: float = 0.0

    @classmethod
    def of(cls, event: Event, until: int) -> "Tally":
        """Of an event that ended, or goes on and is known as far as `until`."""
        offset = until if event.offset_sample is None else event.offset_sample
        samples = max(1, offset - event.onset_sample)
        power = mean_square(event.level_dbfs)
        return cls(samples, samples * event.mean, samples * power, event.peak)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.samples + other.samples,
            self.score + other.score,
            self.power + other.power,
            max(self.peak, other.peak),
        )


NOTHING: Final = Tally()


@dataclass(frozen=True, slots=True)
class Life:
    """An event of a pattern, from its start to its end."""

    subject: Subject
    onset_sample: int
    offset_sample: int
    """Where it ends if nothing follows."""
    told_until: int
    """How far the sound was known when it was last told of."""
    tally: Tally = NOTHING

    def extended(self, offset_sample: int, tally: Tally) -> "Life":
        """With more that belongs to it."""
        offset = max(self.offset_sample, offset_sample)
        return replace(self, offset_sample=offset, tally=self.tally + tally)

    def updated(self, until: int) -> "Life | None":
        """As of now, if it is time to tell that it goes on."""
        due = until - self.told_until >= self.subject.update_samples
        return replace(self, told_until=until) if due else None

    def tell(self, kind: EventType, more: Tally = NOTHING, *, truncated: bool = False) -> Event:
        """Say it; `more` is what goes on beside what has ended."""
        tally = self.tally + more
        samples = max(1, tally.samples)
        return Event(
            type=kind,
            model=MODEL,
            label=self.subject.slug,
            name=self.subject.name,
            onset_sample=self.onset_sample,
            offset_sample=self.offset_sample if kind == "end" else None,
            peak=tally.peak,
            mean=min(tally.score / samples, tally.peak),
            level_dbfs=dbfs(tally.power / samples),
            truncated=truncated,
        )
