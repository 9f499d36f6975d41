"""Events that follow from labels: of several, of their rhythm, or of there being none."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from detector.decibels import FLOOR_DBFS
from detector.settings.base import Settings
from detector.spec import Slug


class PatternBase(Settings):
    name: str | None = Field(None, min_length=1, max_length=200)
    """As people read it; made of the slug if absent."""
    update_interval_s: float = Field(10.0, gt=0)
    """How often a pattern that goes on is reported."""

    def display_name(self, slug: str) -> str:
        """Its name."""
        return self.name or slug.replace("_", " ").strip().capitalize() or slug


class GroupSettings(PatternBase):
    """An event that lasts while any of its labels is heard."""

    kind: Literal["group"]
    labels: tuple[Slug, ...] = Field(min_length=1)
    """Labels of any model, whether or not they become events, or patterns of another kind."""
    merge_gap_s: float = Field(1.0, ge=0, le=600)
    """Labels with no longer pause between them are one event."""


Duration = Annotated[float, Field(gt=0, le=60)]


def _in_order(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] >= span[1]:
        raise ValueError("must be the least and the most, in this order")
    return span


Span = Annotated[tuple[Duration, Duration], AfterValidator(_in_order)]
"""Seconds: the least and the most."""

RHYTHMS: Final[Mapping[str, Mapping[str, Any]]] = {
    # ISO 8201: 0.5 s on and off, three times, then 1.5 s of pause.
    "t3": {"count": 3, "on_s": (0.25, 0.85), "off_s": (0.15, 0.75), "pause_s": (1.0, 2.0)},
    # NFPA 72: 0.1 s on and off, four times, then 5 s of pause.
    "t4": {"count": 4, "on_s": (0.03, 0.19), "off_s": (0.03, 0.19), "pause_s": (3.0, 6.0)},
}
"""What a cycle of each alarm may be, as models hear it: edges move by a frame or two, and rooms
make beeps longer and pauses shorter. The least pause is what must be heard to know that no beep
follows; that it is as long as it is tells an alarm from a clock, within five seconds."""


class RepetitionSettings(PatternBase):
    """An event for beeps in a rhythm."""

    kind: Literal["repetition"]
    label: Slug
    """What is counted: a label of any model, whether or not it becomes an event."""
    model: Slug | None = None
    """Whose label it is, if several have it."""
    rhythm: Literal["t3", "t4"] | None = None
    """t3: smoke (ISO 8201), t4: carbon monoxide (NFPA 72). What is given beside it counts more."""
    count: int = Field(ge=2, le=50)
    """How many beeps make a cycle."""
    on_s: Span
    """How long a beep is."""
    off_s: Span
    """How long it is from the end of one to the next."""
    pause_s: Span
    """How long it is from the end of a cycle to the next. There must be as much quiet as the least
    before and after a cycle; after the most, the event has ended."""

    @model_validator(mode="before")
    @classmethod
    def _known_rhythm(cls, table: object) -> object:
        if not isinstance(table, Mapping):
            return table
        rhythm = RHYTHMS.get(table["rhythm"]) if isinstance(table.get("rhythm"), str) else None
        return {**(rhythm or {}), **table}

    @model_validator(mode="after")
    def _pause_is_longer(self) -> Self:
        if self.pause_s[0] < self.off_s[1]:
            raise ValueError(
                f"pause_s begins at {self.pause_s[0]}, but beeps of one cycle may be "
                f"{self.off_s[1]} s apart (off_s): a longer pause must end a cycle"
            )
        return self


class LoudUnlabelledSettings(PatternBase):
    """An event for what is loud and no model has a name for."""

    kind: Literal["loud_unlabelled"]
    threshold_dbfs: float = Field(-30.0, ge=FLOOR_DBFS, le=0)
    """The mean level from which on something is loud; a full-scale square wave is 0."""
    stretch_s: float = Field(0.5, ge=0.1, le=10)
    """The time over which the level is the mean."""
    min_duration_s: float = Field(1.0, ge=0, le=600)
    merge_gap_s: float = Field(1.0, ge=0, le=600)
    margin_s: float = Field(1.0, ge=0, le=30)
    """A label accounts for what is as near as this to it; events come so much later."""


PatternSettings = Annotated[
    GroupSettings | RepetitionSettings | LoudUnlabelledSettings, Field(discriminator="kind")
]
