"""Gain, high-pass and hum notches: what they do, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.capture.sound.conditioning import (
    Conditioning,
    LinearFilter,
    Section,
    highpass,
    hum_notches,
)
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray
from tests.features import ragged
from tests.sound import tone

NOISE = ragged.noise(2.5)


def conditioned(conditioning: Conditioning, blocks: list[AudioBlock]) -> FloatArray:
    applied = [conditioning.apply(block) for block in blocks]
    assert [b.first_sample for b in applied] == [b.first_sample for b in blocks]
    assert [len(b.samples) for b in applied] == [len(b.samples) for b in blocks]
    assert all(b.samples.dtype == np.float32 for b in applied)
    return np.concatenate([block.samples for block in applied])


def gain_db(sections: list[Section], hertz: float) -> float:
    """By how much a steady tone comes out louder."""
    samples = tone(hertz, 2.0)
    out = LinearFilter(sections).push(samples)
    settled = slice(SAMPLE_RATE, None)
    return 20 * float(np.log10(np.std(out[settled]) / np.std(samples[settled])))


@settings(deadline=None, max_examples=40)
@given(
    ragged.sizes,
    st.floats(-60, 60),
    st.none() | st.floats(10, 2000),
    st.none() | st.sampled_from((50, 60)),
)
def test_the_same_comes_out_bit_by_bit_whatever_the_blocks(
    sizes: list[int], gain: float, highpass_hz: float | None, mains_hz: int | None
) -> None:
    whole = conditioned(Conditioning(gain, highpass_hz, mains_hz), list(ragged.blocks(NOISE)))
    cut = conditioned(Conditioning(gain, highpass_hz, mains_hz), list(ragged.blocks(NOISE, sizes)))
    assert np.array_equal(whole, cut)


def test_sample_by_sample_is_the_same_too() -> None:
    samples = NOISE[:500]
    whole = conditioned(Conditioning(3.0, 80, 50), list(ragged.blocks(samples)))
    one_by_one = list(ragged.blocks(samples, ragged.evenly(1)))
    assert np.array_equal(whole, conditioned(Conditioning(3.0, 80, 50), one_by_one))


def test_it_is_the_filter_that_its_sections_describe() -> None:
    sections = [*highpass(80), *hum_notches(50)]
    expected = NOISE.astype(np.float64)
    for b, a in sections:
        state = np.array(
            [b[1:].sum() - a[1:].sum() * b.sum() / a.sum(), b[2] - a[2] * b.sum() / a.sum()]
        )
        first, second = state / a[0] * expected[0]
        out = np.empty_like(expected)
        for i, x in enumerate(expected):
            out[i] = y = (b[0] * x) / a[0] + first
            first, second = second + (b[1] * x - a[1] * y) / a[0], (b[2] * x - a[2] * y) / a[0]
        expected = out
    assert np.allclose(LinearFilter(sections).push(NOISE), expected, atol=1e-6)


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    assert np.array_equal(conditioned(Conditioning(), list(ragged.blocks(NOISE))), NOISE)


def test_six_decibels_are_twice_as_much() -> None:
    [block] = ragged.blocks(NOISE)
    assert np.allclose(Conditioning(6.0206).apply(block).samples, 2 * NOISE, rtol=1e-5)


@pytest.mark.parametrize("hertz", [20, 100, 1000])
def test_the_high_pass_is_that_of_butterworth(hertz: float) -> None:
    """https://en.wikipedia.org/wiki/Butterworth_filter, warped by the bilinear transform."""
    for tested in (hertz / 2, hertz, 2 * hertz, 4 * hertz):
        ratio = np.tan(np.pi * hertz / SAMPLE_RATE) / np.tan(np.pi * tested / SAMPLE_RATE)
        expected = -10 * np.log10(1 + ratio**8)
        assert gain_db(highpass(hertz), tested) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("mains_hz", [50, 60])
def test_hum_is_taken_out_and_what_is_beside_it_is_not(mains_hz: int) -> None:
    for harmonic in (1, 3, 9):
        assert gain_db(hum_notches(mains_hz), harmonic * mains_hz) < -50
        assert gain_db(hum_notches(mains_hz), harmonic * mains_hz * 1.001) < -20
    assert gain_db(hum_notches(mains_hz), 2.5 * mains_hz) == pytest.approx(0, abs=0.2)
    assert gain_db(hum_notches(mains_hz), 1000) == pytest.approx(0, abs=0.2)


def test_an_offset_makes_no_click_at_a_beginning_or_after_a_gap() -> None:
    conditioning = Conditioning(highpass_hz=80)
    for first_sample, offset in ((0, 0.5), (SAMPLE_RATE, -0.5)):
        block = AudioBlock(first_sample, np.full(1000, offset, np.float32))
        assert np.abs(conditioning.apply(block).samples).max() < 1e-6


def test_a_gap_ends_what_rings_on() -> None:
    loud = AudioBlock(0, ragged.noise(1.0))
    after = AudioBlock(2 * SAMPLE_RATE, ragged.noise(1.0, seed=1))
    conditioning = Conditioning(highpass_hz=80, mains_hz=50)
    conditioning.apply(loud)
    fresh = Conditioning(highpass_hz=80, mains_hz=50)
    assert np.array_equal(conditioning.apply(after).samples, fresh.apply(after).samples)
