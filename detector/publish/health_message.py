"""The JSON of a source's `health`."""

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from detector.health_report import HealthReport, ProblemKind
from detector.publish.messages import Message, Moment
from detector.records import SourceStatus


class ProblemMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    kind: ProblemKind
    advice: str = Field(description="what it is and what to do about it, for people")


class StreamMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    rate: int = Field(gt=0, description="Hertz, as the device, stream or file has it")
    channels: int = Field(gt=0)
    codec: str | None = Field(description="as FFmpeg names it; null if nothing was decoded")
    drift_ppm: float | None = Field(
        description="by how many millionths more samples come in a second; null if not known yet"
    )


class HealthMessage(Message):
    """How a source is. What is not known is null. There may be more than this."""

    model_config = ConfigDict(extra="allow")

    node: str
    source: str
    at: Moment = Field(description="when it was so")
    status: SourceStatus
    problems: list[ProblemMessage]
    level_dbfs: float | None = Field(
        description="mean of the last minute, after gain and filters: as the models hear it"
    )
    level_a_dbfs: float | None = Field(description="the same, A-weighted (IEC 61672-1)")
    dc_offset: float | None = Field(
        description="mean of the last ten seconds, before gain and filters; full scale is 1"
    )
    clipped: float | None = Field(
        ge=0, le=1, description="share of samples at full scale in the last seconds, before gain"
    )
    stream: StreamMessage | None

    @classmethod
    def of(cls, node: str, source: str, report: HealthReport) -> Self:
        return cls(
            node=node,
            source=source,
            at=datetime.now(UTC),
            status=report.status,
            problems=[ProblemMessage.model_validate(problem) for problem in report.problems],
            level_dbfs=report.level_dbfs,
            level_a_dbfs=report.level_a_dbfs,
            dc_offset=report.dc_offset,
            clipped=report.clipped,
            stream=report.stream and StreamMessage.model_validate(report.stream),
        )
