"""What subscribers read, against the schema that they are given."""

import json
import math
import runpy
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.publish.messages import EventMessage, GapMessage, MessageFactory, segment_id
from detector.records import SAMPLE_RATE, Event, Gap
from tests.publish.helpers import NOON, event, gap

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "docs" / "events.schema.json"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def utc(sample: int) -> datetime:
    return NOON + timedelta(seconds=sample / SAMPLE_RATE)


def heard(
    kind: Any = "start", onset: int = 1920, offset: int | None = None, **changes: Any
) -> Event:
    values: dict[str, Any] = {
        "model": "ast-audioset@1",
        "label": "dog_bark",
        "name": "Dog bark",
        "peak": 0.97,
        "mean": 0.91,
        "level_dbfs": -21.4,
    }
    return Event(type=kind, onset_sample=onset, offset_sample=offset, **(values | changes))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    assert {"date-time", "uuid"} <= checker.checkers.keys()
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


def test_schema_file_is_what_the_code_says() -> None:
    text = runpy.run_path(str(ROOT / "scripts" / "write_schema.py"))["text"]()
    assert SCHEMA_FILE.read_text(encoding="utf-8") == text, "run scripts/write_schema.py"


def test_event_is_the_documented_object_with_its_keys_in_order() -> None:
    narrator = MessageFactory("attic", "hall")
    start = narrator.event(heard(), utc)
    end = narrator.event(heard("end", offset=1920 + 37440, truncated=True), utc)
    assert json.loads(end.to_json()) == {
        "schema": 1,
        "id": str(start.id),
        "type": "end",
        "node": "attic",
        "source": "hall",
        "model": "ast-audioset@1",
        "label": "dog_bark",
        "name": "Dog bark",
        "onset": "2026-11-22T12:00:00.120Z",
        "offset": "2026-11-22T12:00:02.460Z",
        "duration_s": 2.34,
        "score": {"peak": 0.97, "mean": 0.91},
        "level_dbfs": -21.4,
        "sequence": 2,
        "late": False,
        "truncated": True,
    }
    assert list(json.loads(start.to_json())) == [
        "schema", "id", "type", "node", "source", "model", "label", "name", "onset", "offset",
        "duration_s", "score", "level_dbfs", "sequence", "late", "truncated",
    ]  # fmt: skip


def test_gap_is_the_documented_object() -> None:
    message = MessageFactory("attic", "hall").gap(Gap(SAMPLE_RATE, 8000, "stall"), utc)
    assert message.to_json() == (
        '{"schema": 1, "node": "attic", "source": "hall", "begin": "2026-11-22T12:00:01.000Z", '
        '"end": "2026-11-22T12:00:01.500Z", "duration_s": 0.5, "reason": "stall", "model": null}'
    )


def test_gap_of_one_model_names_it() -> None:
    message = MessageFactory("attic", "hall").gap(Gap(0, 8000, "unscored", "ast@1"), utc)
    assert json.loads(message.to_json())["model"] == "ast@1"


samples = st.integers(0, 10**12)


@st.composite
def events(draw: st.DrawFn) -> Event:
    onset, length = draw(samples), draw(st.none() | st.integers(0, 10**8))
    return heard(
        draw(st.sampled_from(["start", "update", "end"])),
        onset,
        None if length is None else onset + length,
        peak=draw(st.floats(0, 1)),
        mean=draw(st.floats(0, 1)),
        level_dbfs=draw(st.floats(-math.inf, 20)),
        name=draw(st.text()),
    )


@given(said=events())
def test_every_event_keeps_the_schema(
    validator: jsonschema.Draft202012Validator, said: Event
) -> None:
    message = MessageFactory("attic", "hall").event(said, utc)
    found = json.loads(message.to_json())
    validator.validate(found)
    assert found["name"] == said.name
    assert EventMessage.model_validate_json(message.to_json()) == message
    if said.offset_sample is not None:
        took = datetime.fromisoformat(found["offset"]) - datetime.fromisoformat(found["onset"])
        assert took == timedelta(milliseconds=round(found["duration_s"] * 1000))


@given(first=samples, length=st.integers(0, 10**9))
def test_every_gap_keeps_the_schema(
    validator: jsonschema.Draft202012Validator, first: int, length: int
) -> None:
    message = MessageFactory("attic", "hall").gap(Gap(first, length, "overrun"), utc)
    validator.validate(json.loads(message.to_json()))
    assert GapMessage.model_validate_json(message.to_json()) == message


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2},
        {"type": "begin"},
        {"id": "7"},
        {"onset": "2026-11-22T12:00:00Z"},
        {"onset": "2026-11-22T13:00:00.000+01:00"},
        {"sequence": 0},
        {"score": {"peak": 1.2, "mean": 0.5}},
        {"colour": "red"},
    ],
)
def test_schema_refuses_what_is_wrong(
    validator: jsonschema.Draft202012Validator, wrong: dict[str, Any]
) -> None:
    good = json.loads(event().to_json())
    validator.validate(good)
    assert not validator.is_valid(good | wrong)
    assert not validator.is_valid({k: v for k, v in good.items() if k not in wrong} | {"x": 1})


@pytest.mark.parametrize(
    ("microsecond", "shown"),
    [(0, "12:00:00.000"), (499, "12:00:00.000"), (500, "12:00:00.001"), (999_500, "12:00:01.000")],
)
def test_times_are_rounded_to_the_nearest_millisecond(microsecond: int, shown: str) -> None:
    moment = NOON.replace(microsecond=microsecond)
    message = gap().model_copy(update={"begin": moment})
    assert json.loads(message.to_json())["begin"] == f"2026-11-22T{shown}Z"


def test_times_are_utc_whatever_the_zone_they_are_given_in() -> None:
    moment = NOON.astimezone(timezone(timedelta(hours=-3)))
    message = gap().model_copy(update={"begin": moment})
    assert json.loads(message.to_json())["begin"] == "2026-11-22T12:00:00.000Z"


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        GapMessage(
            node="attic", source="hall", begin=datetime(2026, 1, 1), end=NOON,  # noqa: DTZ001
            duration_s=0, reason="stall",
        )  # fmt: skip


@given(
    st.integers(0, 8 * 10**15).map(lambda n: EPOCH + n * MICROSECOND),
    st.text(),
)
def test_id_is_a_uuid_of_version_7_that_holds_the_onset(onset: datetime, label: str) -> None:
    found = segment_id(onset, label)
    assert (found.version, found.variant) == (7, RFC_4122)
    shown = EPOCH + timedelta(milliseconds=found.int >> 80)
    assert abs(shown - onset) <= timedelta(microseconds=500)
    assert segment_id(onset, label) == found
    assert segment_id(onset, label, "other") != found


def test_id_of_a_time_before_1970_is_still_a_uuid() -> None:
    found = segment_id(datetime(1969, 12, 31, tzinfo=UTC), "dog_bark")
    assert (found.version, found.int >> 80) == (7, 0)


def test_ids_sort_by_onset() -> None:
    ids = [segment_id(NOON + timedelta(milliseconds=n), "dog_bark") for n in range(100)]
    assert ids == sorted(ids)


def test_one_id_for_the_life_of_a_segment_though_the_clock_steps() -> None:
    narrator = MessageFactory("attic", "hall")
    start = narrator.event(heard(), utc)
    end = narrator.event(
        heard("end", offset=1920 + SAMPLE_RATE), lambda n: utc(n) - timedelta(hours=1)
    )
    assert end.id == start.id
    assert end.onset == start.onset
    assert end.offset == start.onset + timedelta(seconds=1)


def test_ids_differ_by_node_source_model_label_onset_and_salt() -> None:
    def identity(node: str = "a", source: str = "b", salt: str = "", **changes: Any) -> UUID:
        return MessageFactory(node, source, salt).event(heard(**changes), utc).id

    ids = {
        identity(),
        identity(node="x"),
        identity(source="x"),
        identity(salt="x"),
        identity(model="x@1"),
        identity(label="x"),
        identity(onset=3200),
    }
    assert len(ids) == 7
    assert identity() in ids


def test_sequence_counts_every_event_of_a_source() -> None:
    narrator = MessageFactory("attic", "hall")
    said = [narrator.event(heard(onset=n), utc).sequence for n in range(5)]
    assert said == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("level", [-math.inf, -300.0])
def test_silence_has_a_level_that_json_can_hold(level: float) -> None:
    message = MessageFactory("attic", "hall").event(heard(level_dbfs=level), utc)
    assert json.loads(message.to_json())["level_dbfs"] == -120.0


def test_a_number_that_was_given_elsewhere_meanwhile_is_not_given_again() -> None:
    last = 7
    factory = MessageFactory("attic", "hall", last_sequence=lambda: last)
    assert factory.event(heard(), utc).sequence == 8
    last = 500  # an outbox on a disk that answers late
    assert factory.event(heard(), utc).sequence == 501
    last = 0
    assert factory.event(heard(), utc).sequence == 502
