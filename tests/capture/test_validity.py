"""What is no sound, at any place and under any cutting into blocks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.conversion import Conversion
from detector.capture.validity import MAX_AMPLITUDE, Invalid, ValidityFilter
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap

RATE = 1_000
RECOVERY = 100
"""Samples of valid sound that end an invalid stretch, at that rate."""


def run(samples: FloatArray, lengths: list[int]) -> list[FloatArray | Invalid]:
    """What comes out, with consecutive samples joined, if blocks of these lengths are pushed."""
    validity = ValidityFilter(RATE)
    parts: list[FloatArray | Invalid] = []
    rest = samples
    while len(rest):
        length = lengths.pop(0) if lengths else len(rest)
        parts += validity.push(rest[:length])
        rest = rest[length:]
    parts += validity.finish()
    joined: list[FloatArray | Invalid] = []
    for part in parts:
        if isinstance(part, Invalid) or not joined or isinstance(joined[-1], Invalid):
            joined.append(part)
        else:
            joined[-1] = np.concatenate((joined[-1], part))
    return joined


spans = st.lists(
    st.tuples(st.booleans(), st.one_of(st.integers(1, 5), st.integers(60, 1500))), max_size=8
)


@given(spans, st.lists(st.integers(1, 400), max_size=20))
def test_it_loses_nothing_and_does_not_care_for_blocks(
    spans: list[tuple[bool, int]], lengths: list[int]
) -> None:
    pieces = [
        np.linspace(-1, 1, length, dtype=np.float32)
        if valid
        else np.full(length, np.nan, np.float32)
        for valid, length in spans
    ]
    samples = np.concatenate([np.zeros(1, np.float32), *pieces])
    parts = run(samples, lengths)
    whole = run(samples, [])
    assert len(parts) == len(whole)
    at = 0
    for part, same in zip(parts, whole, strict=True):
        if isinstance(part, Invalid):
            assert part == same
            assert part.frames <= RATE
            at += part.frames
        else:
            assert np.array_equal(part, samples[at : at + len(part)])
            assert np.isfinite(part).all()
            at += len(part)
    assert at == len(samples)


def test_garbage_with_valid_values_in_it_is_one_gap() -> None:
    samples = np.zeros(500, np.float32)
    samples[100:200:3] = np.inf
    first, invalid, last = run(samples, [])
    assert not isinstance(first, Invalid)
    assert not isinstance(last, Invalid)
    assert (len(first), invalid, len(last)) == (100, Invalid(100), 300)


def test_garbage_without_end_is_told_once_a_second() -> None:
    validity = ValidityFilter(RATE)
    garbage = np.full(100, np.nan, np.float32)
    told = [list(validity.push(garbage)) for _ in range(35)]
    assert [number for number, parts in enumerate(told, 1) if parts] == [10, 20, 30]
    assert list(validity.finish()) == [Invalid(500)]


@pytest.mark.parametrize("value", [MAX_AMPLITUDE, -MAX_AMPLITUDE, 1.5, 0.0])
def test_loud_sound_is_sound(value: float) -> None:
    [part] = ValidityFilter(RATE).push(np.full(10, value, np.float32))
    assert not isinstance(part, Invalid)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("frames", [1, 777])
def test_indices_stay_right_at_any_rate(rate: int, frames: int) -> None:
    conversion = Conversion(rate, first_frame=12_345, first_sample=67_890)
    at = np.arange(3 * rate) / rate
    sound = np.sin(2 * np.pi * 300 * at).astype(np.float32)
    sound[rate : rate + frames] = np.nan
    items: list[AudioBlock | Gap] = []
    for block in np.array_split(sound, 30):
        items += conversion.push(block)
    items += conversion.finish()
    [gap] = [item for item in items if isinstance(item, Gap)]
    assert abs(gap.first_sample - 67_890 - SAMPLE_RATE) <= 1
    assert gap.length == pytest.approx(frames * SAMPLE_RATE / rate, abs=1.5)
    assert items[0].first_sample == 67_890
    assert abs(items[-1].end_sample - 67_890 - 3 * SAMPLE_RATE) <= 1
    for before, after in pairwise(items):
        assert before.end_sample == after.first_sample
    for item in items:
        if isinstance(item, AudioBlock) and len(item.samples) > 1000:
            index = np.arange(item.first_sample - 67_890, item.end_sample - 67_890)
            expected = np.sin(2 * np.pi * 300 * index / SAMPLE_RATE)
            assert np.abs(item.samples - expected)[200:-200].max() < 0.15
