from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.boottime import boottime
from detector.capture.clock import Clock, FixedClock, SampleClock
from detector.records import SAMPLE_RATE

BLOCK = 1600
MINUTE = 600
"""Blocks."""


class Device:
    """A sound card with a crystal of its own, and a machine that is late by a jitter."""

    def __init__(self, drift_ppm: float, jitter_s: float, seed: int = 0) -> None:
        self.clock = SampleClock()
        self.sample = 0
        self.now = 1000.0
        """When the last sample was really heard."""
        self._drift = drift_ppm * 1e-6
        self._jitter_s = jitter_s
        self._random = np.random.default_rng(seed)

    def deliver(self, blocks: int, not_before: float = 0.0) -> list[float]:
        """Deliver blocks; return the clock's error after each, in seconds."""
        errors = []
        for _ in range(blocks):
            self.sample += BLOCK
            self.now += BLOCK / SAMPLE_RATE * (1 + self._drift)
            late = self._random.exponential(self._jitter_s) if self._jitter_s else 0.0
            self.clock.observe(self.sample, max(self.now + late, not_before))
            errors.append(self.clock.captured_at(self.sample) - self.now)
        return errors


@pytest.mark.parametrize("drift_ppm", [-200, -20, 0, 200])
@pytest.mark.parametrize("jitter_s", [0.0, 0.002, 0.02])
def test_a_drifting_card_is_followed_whatever_the_jitter(drift_ppm: float, jitter_s: float) -> None:
    device = Device(drift_ppm, jitter_s)
    device.deliver(5)
    errors = device.deliver(30 * MINUTE)
    assert max(map(abs, errors[:MINUTE])) < 0.025
    assert max(map(abs, errors[MINUTE:])) < 0.004
    assert abs(errors[-1]) < 0.002


@given(st.floats(-200, 200), st.floats(0, 0.02), st.integers(0, 99))
def test_time_never_jumps_while_the_card_counts(drift: float, jitter: float, seed: int) -> None:
    device = Device(drift, jitter, seed)
    device.deliver(2 * MINUTE)
    times = []
    for _ in range(2 * MINUTE):
        device.deliver(1)
        times.append(device.clock.captured_at(device.sample))
    steps = np.diff(times) - BLOCK / SAMPLE_RATE
    assert np.abs(steps).max() < 0.001


@given(st.floats(2, 30), st.integers(0, 300), st.integers(0, 99))
def test_a_backlog_after_a_stall_does_not_skew(stall_s: float, before: int, seed: int) -> None:
    device = Device(50, 0.002, seed)
    device.deliver(2 * MINUTE + before)
    blocks = int(stall_s * 10)
    during = device.deliver(blocks, not_before=device.now + stall_s)
    after = device.deliver(2 * MINUTE)
    assert max(map(abs, during + after)) < 0.005


def test_a_late_beginning_is_corrected_at_once() -> None:
    device = Device(0, 0.001)
    device.deliver(20, not_before=device.now + 2.0)
    assert max(map(abs, device.deliver(50)[1:])) < 0.005


def test_a_block_that_came_before_its_time_moves_the_clock_at_once() -> None:
    device = Device(0, 0.0)
    device.deliver(MINUTE)
    device.now -= 1.0  # the source announced one second more than was lost
    assert max(map(abs, device.deliver(10))) < 0.001


def test_an_old_sample_keeps_its_time() -> None:
    device = Device(150, 0.002)
    device.deliver(3 * MINUTE)
    onset = device.sample
    before = device.clock.captured_at(onset)
    device.deliver(10 * MINUTE)
    assert device.clock.captured_at(onset) == pytest.approx(before, abs=1e-6)


@given(st.integers(0, 3000), st.floats(0, 10_000))
def test_a_time_leads_back_to_its_sample(blocks: int, ahead_s: float) -> None:
    device = Device(80, 0.005)
    device.deliver(1 + blocks)
    sample = device.clock.sample_at(device.now + ahead_s)
    assert device.clock.captured_at(round(sample)) == pytest.approx(device.now + ahead_s, abs=1e-4)


def test_utc_follows_the_wall_clock_of_the_moment_of_asking() -> None:
    clock = SampleClock()
    clock.observe(SAMPLE_RATE, boottime())
    now = datetime.now(UTC)
    assert abs(clock.utc(SAMPLE_RATE) - now) < timedelta(milliseconds=50)
    assert clock.utc(SAMPLE_RATE) - clock.utc(0) == pytest.approx(
        timedelta(seconds=1), abs=timedelta(milliseconds=1)
    )
    assert clock.utc(0).tzinfo is UTC


def test_before_anything_is_captured_there_is_no_time() -> None:
    clock = SampleClock()
    assert not clock.started
    for ask in (clock.captured_at, clock.sample_at, clock.utc):
        with pytest.raises(ValueError, match="not observed anything"):
            ask(0)


START = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.integers(0, 10 * 366 * 86_400 * SAMPLE_RATE))
def test_a_recording_is_timed_to_the_microsecond(sample: int) -> None:
    clock: Clock = FixedClock(START)
    exact_us = sample * 1_000_000 / SAMPLE_RATE if sample < 2**40 else sample * 125 / 2
    assert clock.utc(sample) == START + timedelta(microseconds=int(exact_us))
    assert clock.started
    assert clock.sample_at_utc(clock.utc(sample)) == pytest.approx(sample, abs=1)


def test_a_recording_may_begin_in_any_time_zone() -> None:
    clock = FixedClock(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.utc(SAMPLE_RATE // 2).timestamp() == 0.5
