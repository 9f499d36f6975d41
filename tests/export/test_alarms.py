"""Synthesised alarms have the rhythm of their standards, and beeps have neither's."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from export.train.alarms import Alarm, beeps, carbon_monoxide, smoke, steady

pytestmark = pytest.mark.export
SEEDS = range(20)


def runs(alarm: Alarm) -> list[tuple[bool, float]]:
    """Whether it beeps, and for how many seconds, from its first beep to its last."""
    on: NDArray[np.bool_] = alarm.on
    found = [(bool(value), len(list(group)) / 100) for value, group in itertools.groupby(on)]
    return found[1:-1]


def beeps_in_a_row(alarm: Alarm, longest_pause: float) -> list[int]:
    """How many beeps stand between two longer pauses; the last, cut ones are left out."""
    counts, count = [], 0
    for on, seconds in runs(alarm):
        count += on
        if not on and seconds > longest_pause:
            counts.append(count)
            count = 0
    return counts


@pytest.mark.parametrize("seed", SEEDS)
def test_smoke_alarm_beeps_three_times_half_a_second(seed: int) -> None:
    alarm = smoke(np.random.default_rng(seed))
    assert set(beeps_in_a_row(alarm, 1.0)) == {3}
    lengths = [seconds for on, seconds in runs(alarm) if on]
    assert lengths == pytest.approx([0.5] * len(lengths), abs=0.06)
    pauses = sorted(seconds for on, seconds in runs(alarm) if not on)
    assert pauses[0] == pytest.approx(0.5, abs=0.06)
    assert pauses[-1] == pytest.approx(1.5, abs=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_monoxide_alarm_beeps_four_times_a_tenth_of_a_second(seed: int) -> None:
    alarm = carbon_monoxide(np.random.default_rng(seed))
    assert set(beeps_in_a_row(alarm, 1.0)) == {4}
    lengths = [seconds for on, seconds in runs(alarm) if on]
    assert lengths == pytest.approx([0.1] * len(lengths), abs=0.04)


@pytest.mark.parametrize("make", [smoke, carbon_monoxide, beeps, steady])
def test_sound_is_where_the_alarm_says_that_it_beeps(make: type) -> None:
    for seed in SEEDS:
        alarm = make(np.random.default_rng(seed))
        frames = alarm.samples[200 : 200 + 160 * len(alarm.on)].reshape(-1, 160)
        power = np.square(frames).mean(axis=1)
        assert np.median(power[alarm.on]) > 100 * np.median(power[~alarm.on])
        assert np.isfinite(alarm.samples).all()


def test_other_beeps_have_no_alarm_rhythm() -> None:
    for seed in SEEDS:
        alarm = beeps(np.random.default_rng(seed))
        lengths = [seconds for on, seconds in runs(alarm) if on]
        counts = set(beeps_in_a_row(alarm, 1.25))
        assert not (counts == {3} and lengths and abs(float(np.mean(lengths)) - 0.5) < 0.1)


def test_steady_beeps_never_pause() -> None:
    for seed in SEEDS:
        lengths = [seconds for _, seconds in runs(steady(np.random.default_rng(seed)))]
        assert lengths == pytest.approx([0.5] * len(lengths), abs=0.06)
