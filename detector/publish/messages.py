"""The JSON that subscribers read. `docs/events.schema.json` is generated from these classes."""

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.json_schema import models_json_schema

from detector.decibels import FLOOR_DBFS
from detector.records import SAMPLE_RATE, Event, EventType, Gap, GapReason, SegmentKey

SCHEMA: Literal[1] = 1


def _to_millisecond(moment: datetime) -> datetime:
    """The nearest whole millisecond, in UTC."""
    moment = moment.astimezone(UTC) + timedelta(microseconds=500)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """UTC, with milliseconds."""
    text = _to_millisecond(moment).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


Moment = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        }
    ),
]
"""RFC 3339, UTC, with milliseconds."""


class Message(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    """Version of the format."""

    def to_json(self) -> str:
        """One line, its keys in the order of the fields."""
        return one_line(self.model_dump(mode="json", by_alias=True))


def one_line(values: dict[str, Any]) -> str:
    """JSON as all messages have it."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


class ScoreSummary(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    peak: float = Field(ge=0, le=1)
    mean: float = Field(ge=0, le=1)


class EventMessage(Message):
    """One moment in the life of a segment; the id stays the same from start to end."""

    id: uuid.UUID = Field(description="UUIDv7 of the segment")
    type: EventType
    node: str
    source: str
    model: str = Field(description="name@version of the bundle")
    label: str
    name: str
    onset: Moment
    offset: Moment | None = Field(description="null while the sound goes on")
    duration_s: float | None = Field(ge=0)
    score: ScoreSummary
    level_dbfs: float
    sequence: int = Field(ge=1, description="counts the events of a source without holes")
    late: bool = Field(
        default=False, description="waited for more than 10 s before it could be sent"
    )
    truncated: bool = Field(default=False, description="cut by a gap or a stop")


class GapMessage(Message):
    """Sound that was not heard."""

    node: str
    source: str
    begin: Moment
    end: Moment
    duration_s: float = Field(ge=0)
    reason: GapReason
    model: str | None = Field(
        default=None,
        description="name@version of the only model that did not hear it; null if no model did",
    )


def segment_id(onset: datetime, *identity: str) -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 5.7) of which the random part is a hash of `identity`.

    The same segment gets the same id however often it is computed. A time before 1970, as told by
    a machine whose clock is not set, counts as 1970.
    """
    onset = _to_millisecond(onset)
    milliseconds = max(0, (onset - _EPOCH) // timedelta(milliseconds=1))
    noise = hashlib.sha256("\0".join((onset.isoformat(), *identity)).encode()).digest()
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + noise[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return uuid.UUID(int=value)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MessageFactory:
    """Turns the events and gaps of one source into messages, in order.

    The UTC time of an onset is fixed when its segment starts, and everything after is counted in
    samples from there: a step of the wall clock changes no duration.
    """

    _DIGITS: Final = 4

    def __init__(
        self,
        node: str,
        source: str,
        salt: str = "",
        last_sequence: Callable[[], int] = lambda: 0,
    ) -> None:
        """Count events from 1, but never below what `last_sequence` gives.

        It is asked for each event: an outbox on a disk that answers late may have numbers of an
        earlier run, and gives numbers to the ends of what that run left open.
        `salt` makes ids differ between runs whose clocks may have told the same time.
        """
        self._node, self._source, self._salt = node, source, salt
        self._onsets: dict[SegmentKey, datetime] = {}
        self._sequence, self._last_sequence = 0, last_sequence

    def event(self, event: Event, utc: Callable[[int], datetime]) -> EventMessage:
        """Describe `event`; `utc` tells when a sample of the source was heard."""
        onset = self._onsets.get(event.segment) or _to_millisecond(utc(event.onset_sample))
        self._onsets[event.segment] = onset
        if event.type == "end":
            del self._onsets[event.segment]
        duration = (
            None
            if event.offset_sample is None
            else round((event.offset_sample - event.onset_sample) / SAMPLE_RATE, 3)
        )
        self._sequence = max(self._sequence, self._last_sequence()) + 1
        return EventMessage(
            id=segment_id(onset, self._node, self._source, event.model, event.label, self._salt),
            type=event.type,
            node=self._node,
            source=self._source,
            model=event.model,
            label=event.label,
            name=event.name,
            onset=onset,
            offset=None if duration is None else onset + timedelta(seconds=duration),
            duration_s=duration,
            score=ScoreSummary(
                peak=round(event.peak, self._DIGITS), mean=round(event.mean, self._DIGITS)
            ),
            level_dbfs=round(max(event.level_dbfs, FLOOR_DBFS), 1),
            sequence=self._sequence,
            truncated=event.truncated,
        )

    def gap(self, gap: Gap, utc: Callable[[int], datetime]) -> GapMessage:
        begin = _to_millisecond(utc(gap.first_sample))
        duration = round(gap.length / SAMPLE_RATE, 3)
        return GapMessage(
            node=self._node,
            source=self._source,
            begin=begin,
            end=begin + timedelta(seconds=duration),
            duration_s=duration,
            reason=gap.reason,
            model=gap.model,
        )


def json_schema(*more: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of events and gaps, and of messages of further classes."""
    classes: tuple[type[BaseModel], ...] = (EventMessage, GapMessage, *more)
    references, schema = models_json_schema([(c, "serialization") for c in classes])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What the detector publishes",
        "anyOf": [references[c, "serialization"] for c in classes],
        **schema,
    }
