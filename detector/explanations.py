"""Why a sound became an event, or did not: the words, what they mean, and what comes with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

MEMORY_S: Final = 600
"""How far back it can be explained."""

Suppression = Literal["muted", "quiet_hours"]
"""Why an event is not published."""

SegmentOutcome = Literal["event", "merged", Suppression]
"""What becomes of a segment."""

LabelOutcome = Literal[
    SegmentOutcome, "disabled", "below_onset_threshold", "shorter_than_min_duration", "nothing_new"
]
"""What becomes of a label's scores."""

PatternOutcome = Literal[
    SegmentOutcome,
    "not_heard",
    "no_rhythm",
    "not_loud",
    "labelled",
    "shorter_than_min_duration",
    "not_set_up",
]
"""What becomes of a pattern."""

MEANING: Final[Mapping[LabelOutcome | PatternOutcome, str]] = {
    "event": "an event",
    "merged": "part of an event that had begun before",
    "muted": "held back: the source was muted",
    "quiet_hours": "held back: quiet hours",
    "disabled": "this label does not become events",
    "below_onset_threshold": "below its onset threshold",
    "shorter_than_min_duration": "shorter than its min_duration_s",
    "nothing_new": "only in what was no new sound",
    "not_heard": "none of its labels was heard",
    "no_rhythm": "not in its rhythm, so far",
    "not_loud": "below its threshold_dbfs",
    "labelled": "a label accounts for what was loud",
    "not_set_up": "set up, or changed, after that",
}


def _described(words: object) -> str:
    """What each of the words of a Literal means."""
    return "; ".join(f"{word}: {MEANING[word]}" for word in get_args(words))


class LabelFacts(BaseModel):
    """What became of one label of one model, in the stretch of sound that is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="name@version of the bundle")
    label: str
    name: str
    peak: float = Field(ge=0, le=1, description="the highest score")
    onset_threshold: float | None = Field(description="null if the label does not become events")
    why: LabelOutcome = Field(description=_described(LabelOutcome))


class PatternFacts(BaseModel):
    """What became of one pattern, in the stretch of sound that is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(description="its slug: the label of its events")
    name: str
    kind: str = Field(description="group, repetition or loud_unlabelled")
    why: PatternOutcome = Field(description=_described(PatternOutcome))
    heard: dict[str, int] = Field(
        description="how often each of its labels was heard, however shortly; those that were"
    )
    level_dbfs: float | None = Field(
        description="of loud_unlabelled: the loudest stretch; of those that no label accounts "
        "for, if one of them is loud"
    )


Facts = TypeVar("Facts", LabelFacts, PatternFacts)


@dataclass(frozen=True, slots=True)
class Finding(Generic[Facts]):
    """What became of a label or a pattern, and where."""

    facts: Facts
    onset_sample: int | None
    """Of the event that it was, or would have been."""
    offset_sample: int | None
