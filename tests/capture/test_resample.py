import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.channels import select_channel
from detector.capture.resample import Resampler
from detector.errors import ConfigError, SourceError
from detector.records import SAMPLE_RATE, FloatArray

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def resample(rate: int, *chunks: FloatArray) -> FloatArray:
    resampler = Resampler(rate)
    parts = [resampler.push(chunk) for chunk in chunks]
    return np.concatenate([*parts, resampler.finish()])


@given(st.sampled_from(RATES), st.lists(st.integers(0, 20_000), max_size=8), st.integers(0, 9))
def test_any_cutting_gives_bitwise_the_same(rate: int, sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    sound = random.uniform(-1, 1, sum(sizes) + 1).astype(np.float32)
    cuts = np.cumsum(sizes)
    assert np.array_equal(resample(rate, *np.split(sound, cuts)), resample(rate, sound))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("at_s", [0.25, 0.5, 1.125])
def test_a_click_stays_where_it_was(rate: int, at_s: float) -> None:
    sound = np.zeros(2 * rate, np.float32)
    sound[round(at_s * rate)] = 1
    out = resample(rate, sound)
    assert abs(int(np.argmax(np.abs(out))) - at_s * SAMPLE_RATE) <= 1
    assert abs(len(out) - 2 * SAMPLE_RATE) <= 1


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_phase_and_level(rate: int) -> None:
    def tone(rate: int) -> FloatArray:
        seconds = np.arange(rate) / rate
        return (0.5 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32)

    inside = slice(SAMPLE_RATE // 4, 3 * SAMPLE_RATE // 4)
    assert resample(rate, tone(rate))[inside] == pytest.approx(tone(SAMPLE_RATE)[inside], abs=1e-4)


def test_what_the_analysis_cannot_hold_is_filtered_out() -> None:
    seconds = np.arange(44_100) / 44_100
    out = resample(44_100, np.sin(2 * np.pi * 10_000 * seconds).astype(np.float32))
    assert np.abs(out[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("rate", [0, 4_000, 7_999, 192_001, 384_000])
def test_an_unsupported_rate_is_refused(rate: int) -> None:
    with pytest.raises(SourceError, match=rf"{rate} Hz is not supported, only 8000 to 192000 Hz"):
        Resampler(rate)


SOUND = np.array([[1.0, 2.0, 6.0], [0.5, 0.25, 0.75]], np.float32)


def test_one_channel_is_chosen_or_all_are_mixed() -> None:
    assert select_channel(SOUND, 1).tolist() == [1.0, 0.5]
    assert select_channel(SOUND, 3).tolist() == [6.0, 0.75]
    assert select_channel(SOUND, "mix").tolist() == [3.0, 0.5]
    assert select_channel(SOUND[:, :1], "mix").tolist() == [1.0, 0.5]
    assert select_channel(SOUND, "mix").dtype == np.float32


def test_a_channel_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="channel = 4: the sound has 3 channels"):
        select_channel(SOUND, 4)
    with pytest.raises(ConfigError, match=r"the sound has 1 channel$"):
        select_channel(SOUND[:, :1], 2)


@given(st.integers(1, 8), st.lists(st.integers(0, 300), max_size=5), st.integers(0, 9))
def test_mixing_is_bitwise_the_same_for_any_cutting(
    channels: int, sizes: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    sound = random.uniform(-1, 1, (sum(sizes) + 1, channels)).astype(np.float32)
    parts = [select_channel(part, "mix") for part in np.split(sound, np.cumsum(sizes))]
    whole = select_channel(sound, "mix")
    assert np.array_equal(np.concatenate(parts), whole)
    assert whole == pytest.approx(sound.mean(axis=1), abs=1e-6)
