"""The level of a source, now and then."""

import tracemalloc

import pytest
from pydantic import ValidationError

from detector.publish.mqtt.level import LevelMeter
from detector.settings.mqtt import MqttSettings


def test_the_level_is_the_mean_power_of_an_interval() -> None:
    levels = LevelMeter(1.0)
    told = [
        levels.push("hall", power, 800, now)
        for now, power in ((0.0, 0.01), (0.5, 0.03), (1.0, 0.02))
    ]
    assert told == [None, None, pytest.approx(-17.0)]
    assert [levels.push("hall", 1.0, 800, now) for now in (1.5, 2.0)] == [None, 0.0]


def test_a_long_block_counts_for_more_than_a_short_one() -> None:
    levels = LevelMeter(1.0)
    assert levels.push("hall", 0.0, 8000, 0.0) is None
    assert levels.push("hall", 0.1, 2000, 1.0) == pytest.approx(-17.0)


def test_a_power_is_that_of_the_blocks_before_it_too_that_came_without() -> None:
    levels = LevelMeter(1.0)
    assert [levels.push("hall", None, 320, 0.0) for _ in range(6)] == [None] * 6
    assert levels.push("hall", 0.0, 80, 0.5) is None
    assert levels.push("hall", 0.1, 500, 1.0) == pytest.approx(-17.0)


def test_sources_are_told_apart() -> None:
    levels = LevelMeter(1.0)
    levels.push("hall", 1.0, 800, 0.0)
    levels.push("yard", 1e-4, 800, 0.0)
    assert levels.push("yard", 1e-4, 800, 1.0) == -40.0
    assert levels.push("hall", 1.0, 800, 1.0) == 0.0


def test_digital_silence_has_a_floor() -> None:
    levels = LevelMeter(1.0)
    assert [levels.push("hall", 0.0, 800, now) for now in (0.0, 1.0)] == [None, -120.0]


def test_an_interval_of_zero_gives_none() -> None:
    assert [LevelMeter(0).push("hall", 1.0, 800, now) for now in (0.0, 100.0)] == [None, None]


def test_a_long_interval_takes_no_more_memory_than_a_short_one() -> None:
    levels = LevelMeter(3600.0)
    levels.push("hall", 0.5, 800, 0.0)
    tracemalloc.start()
    for block in range(36_000):
        levels.push("hall", 0.5, 800, block / 10)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 10_000


def test_an_interval_of_more_than_an_hour_is_refused() -> None:
    assert MqttSettings(level_interval_s=3600).level_interval_s == 3600
    with pytest.raises(ValidationError, match="level_interval_s"):
        MqttSettings(level_interval_s=3601)
