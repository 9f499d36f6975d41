"""How fast a device really is."""

import numpy as np
import pytest

from detector.capture.drift import DriftMeter

RATE = 48_000


def drifting(ppm: float, seconds: float, jitter_s: float = 0.02) -> DriftMeter:
    """What comes of blocks of 0.1 s of a device that is too fast by `ppm`."""
    meter, rng = DriftMeter(RATE), np.random.default_rng(0)
    for block in range(round(seconds * 10)):
        end_frame = (block + 1) * RATE // 10
        took_s = end_frame / RATE / (1 + ppm / 1e6)
        meter.observe(end_frame, 1e6 + took_s + rng.exponential(jitter_s))
    return meter


@pytest.mark.parametrize("ppm", [-200, -20, 0, 50, 1000])
def test_drift_is_told_after_a_while_to_some_millionths(ppm: float) -> None:
    assert drifting(ppm, 300).ppm == pytest.approx(ppm, abs=10)


def test_nothing_is_told_before_a_minute_has_passed() -> None:
    assert drifting(50, 59).ppm is None
    assert drifting(50, 90).ppm == pytest.approx(50, abs=100)


def test_another_rate_is_told_as_what_it_is() -> None:
    """44.1 kHz that say they were 48."""
    ppm = drifting(-81_250, 120).ppm
    assert ppm is not None
    assert RATE * (1 + ppm / 1e6) == pytest.approx(44_100, abs=10)


def test_what_comes_after_an_interruption_is_measured_by_itself() -> None:
    meter = drifting(50, 300)
    meter.reset()
    for block in range(100):
        meter.observe(block * RATE // 10, 2e6 + block / 10)
    assert meter.ppm == pytest.approx(50, abs=10)
    for block in range(100, 1500):
        meter.observe(block * RATE // 10, 2e6 + block / 10)
    assert meter.ppm == pytest.approx(0, abs=1)


@pytest.mark.parametrize("late_s", [0.05, 0.15, 1.0])
def test_what_is_late_once_is_no_drift(late_s: float) -> None:
    """A loss, or a network that takes longer from now on."""
    meter, told = DriftMeter(RATE), set[float | None]()
    for block in range(6000):
        end_frame = block * RATE // 10
        meter.observe(end_frame, 1e6 + block / 10 + (late_s if block > 2000 else 0))
        told.add(meter.ppm)
    assert told == {None, 0}
