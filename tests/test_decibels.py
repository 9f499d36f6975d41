"""Levels and mean squares."""

import math

import pytest

from detector.decibels import FLOOR_DBFS, dbfs, mean_square


@pytest.mark.parametrize(
    ("power", "level"),
    [(1.0, 0.0), (0.5, -3.0103), (1e-6, -60.0), (1e-20, FLOOR_DBFS), (0.0, FLOOR_DBFS)],
)
def test_levels_are_relative_to_a_full_scale_square_wave(power: float, level: float) -> None:
    assert dbfs(power) == pytest.approx(level, abs=1e-3)
    assert dbfs(mean_square(level)) == pytest.approx(level, abs=1e-3)


@pytest.mark.parametrize("power", [-1e-12, -0.0, math.nan])
def test_what_rounding_leaves_of_silence_is_silence(power: float) -> None:
    assert dbfs(power) == FLOOR_DBFS
