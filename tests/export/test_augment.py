"""Composed windows keep sounds at their frequencies and labels at the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the recipe needs torch")

from detector.spec import Fbank
from export.train.augment import (
    FRAME,
    FRAMES,
    HEARD,
    NO_LESSON,
    TOKEN,
    VISIBLE,
    Composer,
    Example,
    Sound,
    active_frames,
    band,
    compress,
    encode,
    equaliser,
    place,
    reverberate,
    without_pauses,
)
from export.train.data import power_mel
from export.train.fit import Batch

pytestmark = pytest.mark.export


def tone(bin_: int, start: int, stop: int, frames: int = 498) -> Sound:
    """Sounds in one mel bin only, of which it is also the label; its lessons bear its number."""
    power = np.zeros((frames, 128), np.float32)
    power[start:stop, bin_] = 1.0
    active = power[:, bin_] > 0
    return Sound((power,), {bin_: active}, active, lesson=100 * bin_, lessons=9, speeds=(1.0,))


def composer(*sounds: Sound) -> Composer:
    hum = np.full((900, 128), 1e-9, np.float32)
    background = Sound((hum,), {}, np.ones(900, bool), unknown=(2,), speeds=(1.0,))
    noise = np.ones((2000, 128), np.float32)
    return Composer([[sound] for sound in sounds], [background], noise, labels=3)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Windows of three tones in bins 0, 1 and 2, which sound from 1 to 3 s of their clips."""
    made = composer(*(tone(bin_, 100, 300) for bin_ in range(3)))
    return [made.compose(np.random.default_rng(seed)) for seed in range(300)]


@given(seed=st.integers(0, 2**32), bin_=st.integers(0, 127))
def test_no_effect_moves_a_sound_along_the_frequency_axis(seed: int, bin_: int) -> None:
    rng = np.random.default_rng(seed)
    power = tone(bin_, 50, 80).powers[0] * equaliser(rng, 128, 4) * band(rng, 128)
    heard = encode(rng, compress(rng, reverberate(rng, power)))
    assert np.flatnonzero(heard.sum(axis=0)).tolist() == [bin_]


def test_windows_of_one_sound_hold_it_where_it_was() -> None:
    made = composer(*(tone(bin_, 0, 498) for bin_ in range(3)))
    loudest = []
    for seed in range(100):
        example = made.compose(np.random.default_rng(seed))
        if (example.target == 1).sum() == 1 and np.count_nonzero(example.target) == 1:
            energy = example.power[:, :3].sum(axis=0)
            loudest.append((int(energy.argmax()), int(example.target.argmax())))
    assert len(loudest) > 10
    assert all(bin_ == label for bin_, label in loudest)


@given(
    seed=st.integers(0, 2**32),
    start=st.integers(0, 400),
    length=st.integers(1, 98),
    heard=st.integers(50, HEARD),
    whole=st.booleans(),
)
def test_label_is_given_only_where_the_sound_is_seen(
    seed: int, start: int, length: int, heard: int, *, whole: bool
) -> None:
    active = np.zeros(498, np.bool_)
    active[start : start + length] = True
    row, seen = place(np.random.default_rng(seed), active, heard, whole=whole)
    shown = seen.stop - seen.start
    assert 0 <= max(row, 0) < max(row, 0) + shown <= heard
    assert seen.start == max(0, -row)
    assert active[seen].sum() >= min(VISIBLE, int(np.ceil(0.7 * length)), heard)


def test_a_clip_that_fits_is_shown_whole_when_that_is_asked() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, seen = place(rng, np.ones(498, bool), HEARD, whole=True)
        assert seen == slice(0, 498)


def test_every_label_in_a_window_is_audible_there(examples: list[Example]) -> None:
    for example in examples:
        for label in np.flatnonzero((example.target == 1) & (example.known == 1)):
            assert (example.frames[:, label] > 0).sum() * FRAME >= min(VISIBLE, example.heard)


def test_frames_name_a_label_where_its_energy_is(examples: list[Example]) -> None:
    checked = 0
    for example in examples:
        (labels,) = np.nonzero(example.target)
        if len(labels) == 1:
            energy = example.power[:, labels[0]].reshape(-1, FRAME).sum(axis=1)
            on = example.frames[:, labels[0]] == 1
            if energy[~on].size and energy[on].min() > 100 * np.median(energy[~on]):
                checked += 1
                loud = energy > 0.01 * np.median(energy[on])
                assert not (on & ~loud).any()
    assert checked > 30


def test_the_teacher_is_asked_only_where_one_sound_prevails(examples: list[Example]) -> None:
    asked = [example for example in examples if (example.lesson != NO_LESSON).any()]
    assert len(asked) > 100
    for example in asked:
        of = np.unique(example.lesson[example.lesson != NO_LESSON]) // 100
        assert example.target[of].all()
        for token in np.flatnonzero(example.lesson != NO_LESSON):
            bins = example.power[token * TOKEN : (token + 1) * TOKEN, :3].sum(axis=0)
            others = np.delete(bins, example.lesson[token] // 100)
            assert others.max() <= bins.max()


def test_what_is_not_heard_enough_is_left_unsaid() -> None:
    alarm = tone(0, 0, 498)
    long = Sound(alarm.powers, alarm.labels, alarm.active, visible=260, speeds=(1.0,))
    made = composer(long, long, long)
    for seed in range(200):
        example = made.compose(np.random.default_rng(seed))
        if example.target[0] == 1 and np.count_nonzero(example.target) == 1:
            assert example.known[0] == (example.heard >= 260 or example.known[0])
            if example.heard < 260:
                assert not example.known[0]


def test_some_windows_hold_nothing_and_say_so(examples: list[Example]) -> None:
    empty = [example for example in examples if not example.target.any()]
    assert 0.05 < len(empty) / len(examples) < 0.2


def test_rows_after_what_was_heard_are_padding_and_the_rest_is_not(
    examples: list[Example],
) -> None:
    short = [example for example in examples if example.heard < HEARD][:20]
    batch = Batch(short)
    batch.mask(np.random.default_rng(0))
    assert batch.input.shape == (20, FRAMES, 128)
    for x, heard in zip(batch.input.numpy(), batch.heard.tolist(), strict=True):
        assert (x[heard:] == np.float32(Fbank().padding)).all()
        assert (x[:heard] != np.float32(Fbank().padding)).any()


def test_what_a_background_may_hold_is_left_unsaid(examples: list[Example]) -> None:
    unsaid = [example for example in examples if not example.known.all()]
    assert unsaid
    for example in unsaid:
        if example.heard >= VISIBLE:
            assert np.flatnonzero(example.known == 0).tolist() == [2]
            assert not example.target[2]


def test_the_same_generator_makes_the_same_window() -> None:
    made = composer(*(tone(bin_, 100, 300) for bin_ in range(3)))
    one, other = (made.compose(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.power, other.power)
    np.testing.assert_array_equal(one.target, other.target)


def test_active_frames_leave_out_the_background_of_a_bark() -> None:
    power = np.full((498, 128), 1e-4, np.float32)
    power[200:230] = 1.0
    assert np.flatnonzero(active_frames(power)).tolist() == list(range(200, 230))


def test_short_pauses_are_bridged_and_long_ones_are_not() -> None:
    active = np.zeros(20, bool)
    active[[2, 5, 12]] = True
    assert np.flatnonzero(without_pauses(active, 2)).tolist() == [2, 3, 4, 5, 12]


def test_a_steady_sound_is_active_throughout() -> None:
    noise = np.random.default_rng(0).standard_normal(5 * 16_000).astype(np.float32)
    assert active_frames(power_mel(noise)).all()


def test_mel_energies_of_silence_are_zero() -> None:
    assert not power_mel(np.zeros(8000, np.float32)).any()
