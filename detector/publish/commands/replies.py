"""Answers to commands."""

from pydantic import BaseModel, ConfigDict, Field

from detector.explanations import LabelFacts, PatternFacts
from detector.publish.messages import Message, Moment
from detector.records import SourceStatus


class LabelExplanation(LabelFacts):
    """What became of one label of one model, in the stretch of sound that is asked for."""

    onset: Moment | None = Field(description="of the event that it was, or would have been")
    offset: Moment | None


class PatternExplanation(PatternFacts):
    """What became of one pattern, in the stretch of sound that is asked for."""

    onset: Moment | None = Field(description="of the event that it was, or would have been")
    offset: Moment | None


class Explanation(BaseModel):
    """What a source heard in a stretch of time, and why it was an event or was not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    begin: Moment
    end: Moment
    status: SourceStatus = Field(description="of the source, now")
    not_heard_s: float = Field(
        ge=0, description="how much of it was in gaps, or in an outage that goes on"
    )
    not_heard_by: dict[str, float] = Field(
        default_factory=dict,
        description="how many seconds single models did not hear beside, by name@version: they "
        "were too slow, or failed",
    )
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
