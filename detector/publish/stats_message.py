"""The JSON of `stats`: the counters of `detector.stats`, all in one object."""

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from detector.publish.messages import one_line
from detector.records import SourceStatus
from detector.stats import Stats


class SourceStatsMessage(BaseModel):
    """Counters since the daemon began. There may be more than these."""

    model_config = ConfigDict(frozen=True, extra="allow", title="SourceStats")

    status: SourceStatus
    samples_heard: int = Field(ge=0)
    samples_overrun: int = Field(ge=0)
    samples_not_finite: int = Field(
        ge=0, description="NaN, infinite or far beyond full scale: not heard"
    )
    windows_skipped: int = Field(ge=0, description="the models could not keep up")
    windows_failed: int = Field(ge=0, description="inference failed, or gave what is no score")
    windows_withheld: int = Field(
        0, ge=0, description="not scored, since a cheaper model heard nothing in them"
    )
    events: int = Field(ge=0)
    events_held: int = Field(ge=0, description="segments not told: muted, or quiet hours")
    gaps: int = Field(ge=0)


class StatsMessage(BaseModel):
    """Counters since the daemon began. There may be more than these."""

    model_config = ConfigDict(frozen=True, extra="allow")

    uptime_s: int = Field(ge=0)
    queued_events: int = Field(ge=0)
    dropped_events: int = Field(ge=0)
    rejected_events: int = Field(ge=0)
    dead_letters: int = Field(ge=0)
    lost_events: int = Field(ge=0)
    unstored_events: int = Field(ge=0, description="a killed process would lose them")
    storage: str = Field(description="ok, or why events cannot be stored at present")
    rejected_values: int = Field(ge=0)
    sources: dict[str, SourceStatsMessage]

    @classmethod
    def of(cls, stats: Stats) -> Self:
        """What subscribers are told; `stats.delivery` must not be None.

        Whoever reads it knows that there is a connection: that is left out.
        """
        values = asdict(stats)
        delivery = values.pop("delivery")
        del delivery["connected"]
        return cls.model_validate(values | delivery)

    def to_json(self) -> str:
        return one_line(self.model_dump(mode="json"))
