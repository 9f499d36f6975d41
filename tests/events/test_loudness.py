"""How loud a stretch was, from the power of each hop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.events.segments.loudness import Loudness


@given(
    parts=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 60), st.floats(0, 1)), min_size=1, max_size=30
    ),
    span=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=100)
def test_energy_of_any_stretch_is_the_sum_of_its_samples(
    parts: list[tuple[int, int, float]], span: tuple[float, float]
) -> None:
    """Each part follows the one before it, after some samples that were not heard."""
    loudness = Loudness(10**6)
    power = np.zeros(0)
    for missing, heard, value in parts:
        power = np.concatenate([power, np.zeros(missing), np.full(heard, value)])
        loudness.push(len(power), heard, value)
    first, last = sorted(round(place * len(power)) for place in span)
    energy = loudness.energy(first, last)
    assert energy == pytest.approx(power[first:last].sum(), rel=1e-9, abs=1e-9)


def test_nothing_heard_is_no_energy() -> None:
    assert Loudness(100).energy(0, 1000) == 0.0


def test_the_past_is_kept_as_far_as_asked_and_not_much_further() -> None:
    loudness = Loudness(1000)
    for end in range(10, 100_001, 10):
        loudness.push(end, 10, 1.0)
    assert loudness.energy(99_000, 100_000) == pytest.approx(1000)
    assert len(loudness._begins) == len(loudness._ends) == len(loudness._energies) < 250


@pytest.mark.parametrize("power", [1e30, math.inf, math.nan])
def test_what_lies_outside_a_stretch_does_not_touch_its_energy(power: float) -> None:
    loudness = Loudness(10_000)
    loudness.push(100, 100, power)
    loudness.push(200, 100, 0.25)
    loudness.push(300, 100, power)
    assert loudness.energy(100, 200) == 25.0
    assert loudness.energy(150, 200) == 12.5


@pytest.mark.parametrize("power", [math.inf, math.nan])
def test_a_power_that_is_not_finite_counts_as_none(power: float) -> None:
    loudness = Loudness(10_000)
    loudness.push(100, 100, 0.25)
    loudness.push(200, 100, power)
    loudness.push(300, 100, 0.25)
    assert loudness.energy(0, 300) == 50.0
