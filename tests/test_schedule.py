"""Hours in which only some labels become events: local time, over midnight and over a change of
the clocks."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ConfigError
from detector.operate.schedule import Schedule
from detector.settings.load import load_config
from detector.settings.schedule import ScheduleSettings

VIENNA = "Europe/Vienna"


def hours(begin: str, end: str, **more: object) -> ScheduleSettings:
    return ScheduleSettings.model_validate({"from": begin, "to": end} | (more or {"quiet": True}))


def quiet_at(settings: ScheduleSettings, moment: str, zone: str = "UTC") -> bool:
    return not Schedule([settings], zone).allows("hall", "dog", datetime.fromisoformat(moment))


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-11-22T21:59:59.999Z", False),
        ("2026-11-22T22:00Z", True),
        ("2026-11-23T00:00Z", True),
        ("2026-11-23T06:59:59.999Z", True),
        ("2026-11-23T07:00Z", False),
    ],
)
def test_hours_go_over_midnight_and_their_end_is_outside(moment: str, *, quiet: bool) -> None:
    assert quiet_at(hours("22:00", "07:00"), moment) is quiet


def test_hours_within_a_day() -> None:
    noon = hours("12:00", "13:30")
    assert [quiet_at(noon, f"2026-11-22T{t}Z") for t in ("11:59", "12:00", "13:29", "13:30")] == [
        False, True, True, False,
    ]  # fmt: skip


@given(st.integers(0, 4_000_000_000))
def test_the_same_time_twice_is_the_whole_day(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC).isoformat()
    for whole in (hours("00:00", "24:00"), hours("06:00", "06:00")):
        assert quiet_at(whole, moment, VIENNA)


def test_days_are_those_on_which_the_hours_begin() -> None:
    friday_night = hours("22:00", "07:00", quiet=True, days=("fri",))
    assert quiet_at(friday_night, "2026-11-20T23:00Z")
    assert quiet_at(friday_night, "2026-11-21T06:00Z")  # Saturday morning
    assert not quiet_at(friday_night, "2026-11-20T06:00Z")  # Friday morning
    assert not quiet_at(friday_night, "2026-11-21T23:00Z")


def test_local_time_counts_in_summer_and_in_winter() -> None:
    night = hours("22:00", "07:00")
    assert quiet_at(night, "2026-07-01T20:00Z", VIENNA)  # 22:00 in summer
    assert not quiet_at(night, "2026-11-22T20:59Z", VIENNA)  # 21:59 in winter
    assert quiet_at(night, "2026-11-22T21:00Z", VIENNA)


def test_only_the_named_labels_become_events_and_all_hours_must_allow_it() -> None:
    night = hours("22:00", "07:00", only=("siren", "glass"))
    late = hours("23:00", "01:00", only=("siren",))
    schedule = Schedule([night, late], "UTC")

    def allowed(label: str, moment: str) -> bool:
        return schedule.allows("hall", label, datetime.fromisoformat(moment))

    assert allowed("siren", "2026-11-22T23:30Z")
    assert allowed("glass", "2026-11-22T22:30Z")
    assert not allowed("glass", "2026-11-22T23:30Z")
    assert not allowed("dog", "2026-11-22T22:30Z")
    assert allowed("dog", "2026-11-22T12:00Z")


def test_other_sources_are_not_concerned() -> None:
    yard = Schedule([hours("00:00", "24:00", quiet=True, sources=("yard",))], "UTC")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert not yard.allows("yard", "dog", now)
    assert yard.allows("hall", "dog", now)


def test_without_hours_everything_is_allowed_whatever_this_machine_calls_its_zone() -> None:
    assert Schedule([]).allows("hall", "dog", datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('from = "25:00"\nto = "07:00"\nquiet = true', ["schedule.0.from = '25:00'", "22:00"]),
        ('from = "24:30"\nto = "07:00"\nquiet = true', ["schedule.0.from"]),
        ('from = "22:00"\nto = "07:00"', ["only = [labels] or quiet = true"]),
        ('from = "22:00"\nto = "07:00"\nquiet = true\nonly = ["dog"]', ["either"]),
        ('from = "22:00"\nquiet = true', ["schedule.0.to", "required"]),
        ('from = "1:00"\nto = "2:00"\nquiet = true\nsources = ["yard"]', ["'yard'", "microphone"]),
        ('from = "1:00"\nto = "2:00"\nquiet = true\ndays = ["someday"]', ["days", "someday"]),
    ],
)
def test_a_mistake_in_the_hours_is_told(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[[schedule]]\n{text}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert [part for part in told if part not in str(raised.value)] == [], raised.value


def test_hours_may_be_written_as_times_of_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'time_zone = "Europe/Vienna"\n[[schedule]]\nfrom = 22:00:00\nto = "7:00"\nquiet = true'
    )
    [night] = load_config(path).schedule
    assert (night.begin.hour, night.end.hour) == (22, 7)


def test_an_unknown_time_zone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for zone in ("Vienna", "../etc", "Europe"):
        path.write_text(f'time_zone = "{zone}"\n')
        with pytest.raises(ConfigError, match="no such time zone"):
            load_config(path)
