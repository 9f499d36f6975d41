"""What patterns listen to: streams of events, each of one model or of another pattern."""

from dataclasses import dataclass
from typing import Literal

from detector.records import Event

StreamKind = Literal["published", "unpublished", "raw", "beeps"]
"""Which of a model's events are in a stream.

published: those that the model publishes;
unpublished: the same of labels that are not published;
raw: each stretch in which a score is over the threshold, however short, with nothing merged;
beeps: as raw, and beside each label one of half its threshold.
"""


@dataclass(frozen=True, slots=True)
class ModelStream:
    """Events of a model."""

    model: str
    """What the configuration calls it."""
    kind: StreamKind


@dataclass(frozen=True, slots=True)
class PatternStream:
    """Events of a pattern."""

    slug: str


Stream = ModelStream | PatternStream


@dataclass(frozen=True, slots=True)
class Hop:
    """Sound of which the loudness is known."""

    end_sample: int
    samples: int
    power: float
    """Mean square (full scale is 1)."""


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """What is new in a stream."""

    known_until: int
    """How far the sound is known in it; never less than before."""
    events: tuple[Event, ...] = ()
    cut: bool = False
    """Whether the sound stops at `known_until`."""
    hop: Hop | None = None
    """The new sound, in the one stream that has the loudness."""
