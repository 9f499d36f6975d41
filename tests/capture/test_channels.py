"""Channels that cancel each other are noticed."""

import numpy as np
import pytest

from detector.capture.sound.channels import PhaseMonitor, select_channel
from detector.records import FloatArray

RATE = 16_000


def noise(seed: int) -> FloatArray:
    samples = np.random.default_rng(seed).standard_normal(11 * RATE)
    return np.asarray(0.1 * samples, np.float32)


def cancels(channels: list[FloatArray]) -> bool:
    monitor, samples = PhaseMonitor(RATE), np.stack(channels, axis=1)
    for block in np.split(samples, range(1600, len(samples), 1600)):
        monitor.push(block, select_channel(block, "mix"))
    return monitor.cancels


LEFT = noise(1)


def test_a_channel_that_is_the_other_upside_down_cancels_it() -> None:
    assert cancels([LEFT, -LEFT])
    assert cancels([LEFT, -0.8 * LEFT])


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_channels_that_hear_the_same_or_something_else_do_not(count: int) -> None:
    assert not cancels([LEFT] * count)
    assert not cancels([noise(seed) for seed in range(count)])
    assert not cancels([LEFT, *[0 * LEFT] * (count - 1)])


def test_noise_of_the_converters_says_nothing() -> None:
    quiet = np.float32(1e-5) * LEFT
    assert not cancels([quiet, -quiet])


def test_it_is_over_when_it_is_over() -> None:
    monitor = PhaseMonitor(RATE)
    for other, expected in ((-LEFT, True), (LEFT, False)):
        samples = np.stack([LEFT, other], axis=1)[: 10 * RATE]
        monitor.push(samples, select_channel(samples, "mix"))
        assert monitor.cancels is expected
