"""The level of a source, now and then."""

import pytest

from detector.publish.mqtt.level import Levels


def test_the_level_is_the_mean_power_of_an_interval() -> None:
    levels = Levels(1.0)
    told = [
        levels.push("hall", power, now) for now, power in ((0.0, 0.01), (0.5, 0.03), (1.0, 0.02))
    ]
    assert told == [None, None, pytest.approx(-17.0)]
    assert [levels.push("hall", 1.0, now) for now in (1.5, 2.0)] == [None, 0.0]


def test_sources_are_told_apart() -> None:
    levels = Levels(1.0)
    levels.push("hall", 1.0, 0.0)
    levels.push("yard", 1e-4, 0.0)
    assert levels.push("yard", 1e-4, 1.0) == -40.0
    assert levels.push("hall", 1.0, 1.0) == 0.0


def test_digital_silence_has_a_floor() -> None:
    levels = Levels(1.0)
    assert [levels.push("hall", 0.0, now) for now in (0.0, 1.0)] == [None, -120.0]


def test_an_interval_of_zero_gives_none() -> None:
    assert [Levels(0).push("hall", 1.0, now) for now in (0.0, 100.0)] == [None, None]
