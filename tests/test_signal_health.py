"""A microphone that is dead or overdriven is told from one that hears a quiet room."""

import numpy as np
import pytest

from detector.operate.signal_monitor import SignalHealth, SignalMonitor
from detector.records import SAMPLE_RATE, FloatArray
from tests.features.ragged import blocks, evenly

STEP = 1 / 32768
"""Of 16-bit sound."""


def last(samples: FloatArray, length: int = 1600) -> SignalHealth:
    monitor = SignalMonitor()
    health: SignalHealth = "listening"
    for block in blocks(samples, evenly(length)):
        health = monitor.push(block)
    return health


def noise(seconds: float, amplitude: float) -> FloatArray:
    rng = np.random.default_rng(0)
    return (amplitude * rng.uniform(-1, 1, round(seconds * SAMPLE_RATE))).astype(np.float32)


def tone(seconds: float, amplitude: float) -> FloatArray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(amplitude * np.sin(2 * np.pi * 440 * time), np.float32)


def constant(seconds: float, value: float) -> FloatArray:
    return np.full(round(seconds * SAMPLE_RATE), value, np.float32)


@pytest.mark.parametrize("value", [0.0, 0.25, -0.01])
@pytest.mark.parametrize("length", [160, 1600, 16_000])
def test_a_signal_that_never_moves_is_silent_after_ten_seconds(value: float, length: int) -> None:
    assert last(constant(9.9, value), length) == "listening"
    assert last(constant(10.1, value), length) == "silent"


def test_one_step_of_dither_is_silence_too() -> None:
    flicker = STEP * np.random.default_rng(0).integers(0, 2, 11 * SAMPLE_RATE)
    assert last(flicker.astype(np.float32)) == "silent"


@pytest.mark.parametrize("length", [1, 16, 1600, 32_000])
def test_a_quiet_room_is_not_silent_however_it_arrives(length: int) -> None:
    """Blocks of one sample do not move within themselves."""
    assert last(noise(10.5, 4 * STEP), length) == "listening"


def test_any_sound_ends_silence_at_once() -> None:
    monitor = SignalMonitor()
    healths = [monitor.push(b) for b in blocks(constant(12, 0), evenly(1600))]
    assert healths[-1] == "silent"
    [click] = blocks(np.array([0, 0.01, 0], np.float32))
    assert monitor.push(click) == "listening"


def test_a_signal_that_stops_moving_is_silent_again() -> None:
    assert last(np.concatenate([noise(3, 0.5), constant(10.2, 0.1)])) == "silent"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_signal_that_moves_from_block_to_block_is_not_silent(sign: int) -> None:
    staircase = sign * STEP * np.arange(120).repeat(1600)
    assert last(staircase.astype(np.float32)) == "listening"


def test_full_scale_that_is_only_touched_is_not_clipping() -> None:
    assert last(tone(5, 0.998)) == "listening"
    assert last(0.5 * tone(5, 1.0)) == "listening"


@pytest.mark.parametrize("length", [160, 1600, 16_000, 80_000])
def test_a_signal_cut_off_at_full_scale_is_clipping(length: int) -> None:
    assert last(np.clip(tone(5, 2.0), -1, 1), length) == "clipping"
    assert last(np.sign(tone(5, 1.0)), length) == "clipping"


def test_a_single_clap_is_not_clipping() -> None:
    samples = noise(6, 0.1)
    samples[5 * SAMPLE_RATE : 5 * SAMPLE_RATE + 100] = 1.0
    assert last(samples) == "listening"


def test_clipping_is_over_some_seconds_after_it_ended() -> None:
    samples = np.concatenate([np.sign(tone(3, 1.0)), noise(15, 0.1)])
    assert last(samples) == "listening"


def test_no_samples_change_nothing() -> None:
    monitor = SignalMonitor()
    [silence] = blocks(constant(11, 0))
    assert monitor.push(silence) == "silent"
    [nothing] = blocks(np.empty(0, np.float32))
    assert monitor.push(nothing) == "silent"
