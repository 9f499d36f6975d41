"""Levels in dB(A)."""

import numpy as np
import pytest

from detector.operate.a_weighting import AWeightedPower, a_weighting
from detector.records import SAMPLE_RATE
from tests.features.ragged import cut, evenly, noise
from tests.sound import tone

TABLE = {
    25: -44.7, 50: -30.2, 63: -26.2, 100: -19.1, 200: -10.9, 500: -3.2,
    1000: 0.0, 2000: 1.2, 4000: 1.0, 6300: -0.1, 8000: -1.1, 20_000: -9.3,
}  # fmt: skip
"""IEC 61672-1:2013, table 3: decibels by nominal frequency."""


def test_the_curve_is_that_of_the_standard() -> None:
    """The nominal frequencies stand for tenths of a power of ten, as the standard has it."""
    for nominal, expected in TABLE.items():
        exact = 1000 * 10 ** (round(10 * np.log10(nominal / 1000)) / 10)
        assert 20 * np.log10(a_weighting(np.array(exact))) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("hertz", [50, 100, 200, 500, 1000, 4000, 6300, 7900])
def test_a_tone_has_the_level_that_its_frequency_gives_it(hertz: float) -> None:
    samples = tone(hertz, 3.0)
    power = AWeightedPower().push(samples)
    assert power is not None
    expected = 20 * np.log10(a_weighting(np.array(hertz))) + 10 * np.log10(
        np.square(samples).mean()
    )
    assert 10 * np.log10(power) == pytest.approx(expected, abs=0.2)


def test_it_is_the_same_in_any_blocks_and_says_nothing_of_too_little() -> None:
    sound = noise(4.0)
    whole, in_parts = AWeightedPower(), AWeightedPower()
    powers = [in_parts.push(part) for part in cut(sound, evenly(1600))]
    assert powers[0] is None
    frames = [power for power in powers if power is not None]
    assert len(frames) < len(powers)
    assert np.mean(frames) == pytest.approx(whole.push(sound), rel=1e-9)


def test_an_offset_is_no_sound() -> None:
    power = AWeightedPower().push(np.full(SAMPLE_RATE, 0.5, np.float32))
    assert power is not None
    assert 10 * np.log10(power) < -100
