"""Answers to commands."""

from pydantic import BaseModel, ConfigDict, Field

from detector.publish.messages import Message, Moment
from detector.records import SourceStatus


class LabelExplanation(BaseModel):
    """What became of one label of one model, in the stretch of sound that is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="name@version of the bundle")
    label: str
    name: str
    peak: float = Field(ge=0, le=1, description="the highest score")
    onset_threshold: float | None = Field(description="null if the label does not become events")
    why: str = Field(
        description="event, merged, muted, quiet_hours, disabled, below_onset_threshold, "
        "shorter_than_min_duration or nothing_new"
    )
    onset: Moment | None = Field(description="of the event that it was, or would have been")
    offset: Moment | None


class PatternExplanation(BaseModel):
    """What became of one pattern, in the stretch of sound that is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(description="its slug: the label of its events")
    name: str
    kind: str = Field(description="group, repetition or loud_unlabelled")
    why: str = Field(
        description="event, merged, muted, quiet_hours, not_heard, no_rhythm, not_loud, labelled, "
        "shorter_than_min_duration or not_set_up"
    )
    heard: dict[str, int] = Field(
        description="how often each of its labels was heard, however shortly; those that were"
    )
    level_dbfs: float | None = Field(description="of loud_unlabelled: the loudest stretch")
    onset: Moment | None = Field(description="of the event that it was, or would have been")
    offset: Moment | None


class Explanation(BaseModel):
    """What a source heard in a stretch of time, and why it was an event or was not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    begin: Moment
    end: Moment
    status: SourceStatus = Field(description="of the source, now")
    not_heard_s: float = Field(ge=0, description="how much of it was in gaps")
    labels: tuple[LabelExplanation, ...] = Field(description="the highest score of a model first")
    patterns: tuple[PatternExplanation, ...] = Field(default=(), description="all of the source")


class AnswerMessage(Message):
    """What was done of a command, or why not."""

    node: str
    command: str
    ok: bool
    message: str = Field(description="what was done, or what is wrong")
    restart: tuple[str, ...] = Field(
        default=(), description="settings that have changed and count after a restart"
    )
    explanation: Explanation | None = None
