"""The conditions of the benchmark of robustness are what they say."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from detector.records import SAMPLE_RATE, FloatArray

# Benchmarks are scripts, not a package.
conditions = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "conditions.py"))
)
SECOND = SAMPLE_RATE


def noise(seconds: float = 4, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(seconds * SECOND))).astype(np.float32)


def tone(hertz: float, amplitude: float = 0.1, seconds: float = 4) -> FloatArray:
    time = np.arange(int(seconds * SECOND)) / SECOND
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def decibels(after: FloatArray, before: FloatArray) -> float:
    """How much louder, away from the ends."""
    inner = slice(SECOND // 2, -SECOND // 2)
    return float(10 * np.log10(np.square(after[inner]).sum() / np.square(before[inner]).sum()))


@pytest.mark.parametrize(("hertz", "change"), [(200, 0), (2800, 0), (3600, -80), (6000, -80)])
def test_low_passed_keeps_what_is_below_3400_hz_and_nothing_above(
    hertz: float, change: float
) -> None:
    found = decibels(conditions.low_passed(tone(hertz)), tone(hertz))
    assert found == pytest.approx(change, abs=0.5) if change == 0 else found < change


@pytest.mark.parametrize("rt60_s", [0.3, 0.5, 1.0])
def test_a_room_dies_away_by_60_db_in_its_reverberation_time(rt60_s: float) -> None:
    response = conditions.room(np.random.default_rng(1), rt60_s, 0.0)
    # Schroeder's backward integration, from 5 to 25 dB below the beginning of the tail.
    left = 10 * np.log10(np.cumsum(np.square(response[:0:-1], dtype=np.float64))[::-1])
    left -= left[0]
    time = np.arange(len(left)) / SECOND
    part = (left < -5) & (left > -25)
    slope = np.polyfit(time[part], left[part], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)


def test_a_rooms_direct_sound_has_the_share_of_energy_that_was_asked_for() -> None:
    for direct_db in (-6.0, 0.0, 6.0):
        response = conditions.room(np.random.default_rng(2), 0.5, direct_db)
        energy = np.square(response, dtype=np.float64)
        assert energy.sum() == pytest.approx(1)
        assert 10 * np.log10(energy[0] / energy[1:].sum()) == pytest.approx(direct_db, abs=0.01)


def test_a_background_is_10_db_below_the_sound_while_it_sounds() -> None:
    sound = noise()
    sound[SECOND:] = 0  # digital silence, as clips are padded with
    heard = conditions.with_background(sound, noise(9, seed=3), np.random.default_rng(4))
    under = np.square(heard[SECOND:]).mean()
    assert 10 * np.log10(np.square(sound[:SECOND]).mean() / under) == pytest.approx(10, abs=0.3)


def test_quieter_is_20_db_quieter() -> None:
    assert decibels(conditions.quieter(noise()), noise()) == pytest.approx(-20, abs=1e-3)


@pytest.mark.parametrize(("hertz", "change"), [(50, -24.1), (100, -12.3), (200, -3), (2000, 0)])
def test_low_cut_is_a_butterworth_of_second_order(hertz: float, change: float) -> None:
    found = decibels(conditions.low_cut(tone(hertz), 200), tone(hertz))
    assert found == pytest.approx(change, abs=0.1)


def test_compression_leaves_a_quarter_of_what_exceeds_the_level() -> None:
    loud, quiet = tone(1000, 0.5), tone(1000, 0.005)  # 40 dB apart: 20 below the level, 20 above
    heard = conditions.compressed(np.concatenate((loud, quiet)), below_peak_db=20, ratio=4)
    apart = decibels(heard[: len(loud)], loud) - decibels(heard[len(loud) :], quiet)
    assert apart == pytest.approx(-15, abs=0.2)
    assert np.square(heard).mean() == pytest.approx(np.square(loud).mean() / 2, rel=0.01)


def test_opus_keeps_the_length_and_the_time_but_not_the_samples() -> None:
    sound = noise()
    heard = conditions.encoded(sound)
    product = np.fft.rfft(heard, 2 * len(sound)) * np.conj(np.fft.rfft(sound, 2 * len(sound)))
    assert len(heard) == len(sound)
    assert int(np.argmax(np.fft.irfft(product))) == 0
    assert np.abs(heard - sound).max() > 0.01


def test_every_condition_bears_digital_silence_and_repeats_itself() -> None:
    silence = np.zeros(5 * SECOND, np.float32)
    for condition in (conditions.low_passed, conditions.close_and_dry, conditions.encoded):
        assert np.abs(condition(silence)).max() < 1e-4
    for condition in (
        conditions.in_room,
        lambda s, rng: conditions.with_background(s, noise(7, seed=5), rng),
    ):
        once, again = (condition(noise(), np.random.default_rng(6)) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert np.isfinite(condition(silence, np.random.default_rng(6))).all()
        assert once.dtype == np.float32
