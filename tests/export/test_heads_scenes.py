"""Composed windows hold what their targets say, at the frequencies at which it was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="export needs torch")

from detector.records import SAMPLE_RATE, FloatArray
from export.heads.data.recordings import Recording, Span
from export.heads.data.scenes import Composer
from export.heads.data.sound import noise
from export.heads.graph.frame_grid import FrameGrid
from tests.export.tones import HZ, hiss, tone

pytestmark = pytest.mark.export

WINDOW = 40_960
GRID = FrameGrid(count=32, hop_samples=1280, offset_samples=0)
LOW, HIGH = HZ["low"], HZ["high"]


@dataclass(frozen=True)
class Take:
    """A recording and its samples."""

    samples: FloatArray
    about: Recording


def recording(samples: FloatArray, *spans: Span, name: str = "x") -> Take:
    return Take(samples, Recording(Path(name), len(samples), spans, name))


def whole(samples: FloatArray, label: int) -> Take:
    return recording(samples, Span(0, len(samples), label), name=f"{label} {len(samples)}")


def composer(*takes: Take, grid: FrameGrid | None = None, exclusive: bool = False) -> Composer:
    recordings = [take.about for take in takes]
    samples = {id(take.about): take.samples for take in takes}
    labels = 1 + max(span.label for r in recordings for span in r.spans)

    def read(recording: Recording, first: int, end: int) -> FloatArray:
        assert 0 <= first <= end <= recording.length
        return samples[id(recording)][first:end]

    return Composer(recordings, labels, WINDOW, grid, read, exclusive=exclusive)


def band(samples: FloatArray, hz: float) -> FloatArray:
    """Magnitudes of the spectrum within 8 % of `hz`."""
    lines = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return np.asarray(np.abs(np.fft.rfft(samples))[np.abs(lines - hz) < 0.08 * hz], np.float32)


def loudest(samples: FloatArray, among: Sequence[float]) -> float:
    return max(among, key=lambda hz: float(np.square(band(samples, hz)).sum()))


@given(seed=st.integers(0, 2**32), seconds=st.sampled_from([0.3, 1.0, 2.5, 4.0]))
def test_a_sound_stays_at_its_frequency_and_is_in_the_window(seed: int, seconds: float) -> None:
    made = composer(whole(tone(LOW, seconds), 0), whole(tone(HIGH, seconds), 1), exclusive=True)
    example = made.compose(np.random.default_rng(seed))
    assert 0 < len(example.samples) <= WINDOW
    assert np.abs(example.samples).max() <= 1
    assert example.target.sum() == 1
    assert loudest(example.samples, [LOW, HIGH]) == [LOW, HIGH][int(example.target.argmax())]


def test_every_label_is_composed_as_often_however_many_recordings_it_has() -> None:
    many = [whole(tone(LOW, 1.0, i), 0) for i in range(20)]
    made = composer(*many, whole(tone(HIGH, 1.0), 1), exclusive=True)
    drawn = [int(made.compose(np.random.default_rng(i)).target.argmax()) for i in range(200)]
    assert 70 < sum(drawn) < 130


def test_the_same_clip_appears_in_many_places_and_levels() -> None:
    made = composer(whole(tone(LOW, 0.5), 0), whole(tone(HIGH, 0.5), 1), exclusive=True)
    examples = [made.compose(np.random.default_rng(i)) for i in range(60)]
    starts, levels = set(), set()
    for example in examples:
        active = np.flatnonzero(np.abs(example.samples) > 0.3 * np.abs(example.samples).max())
        starts.add(int(active[0]) // 4000)
        levels.add(round(np.log2(float(np.abs(example.samples).max()))))
    assert len(starts) >= 6
    assert len(levels) >= 4


def test_exclusive_labels_always_have_one_and_others_at_times_none() -> None:
    recordings = (whole(tone(LOW, 1.0), 0), whole(tone(HIGH, 1.0), 1))
    exclusive = composer(*recordings, exclusive=True)
    several = composer(*recordings, recording(hiss(5.0)))
    targets = [
        [made.compose(np.random.default_rng(i)).target.sum() for i in range(100)]
        for made in (exclusive, several)
    ]
    assert set(targets[0]) == {1}
    assert 10 < targets[1].count(0) < 60


def test_windows_without_labels_hold_no_labelled_sound() -> None:
    samples = hiss(8.0) * 0.01
    samples[16_000:32_000] += tone(HIGH, 1.0)
    made = composer(recording(samples, Span(16_000, 32_000, 0)))
    quiet = [
        e for e in (made.compose(np.random.default_rng(i)) for i in range(80)) if not e.target.any()
    ]
    assert quiet
    for example in quiet:
        spectrum = np.abs(np.fft.rfft(example.samples)) + 1e-9
        assert band(example.samples, HIGH).max() < 50 * np.median(spectrum)


@given(seed=st.integers(0, 2**32), onset=st.floats(0, 5), length=st.floats(0.2, 2.5))
def test_frames_are_labelled_where_the_sound_is(seed: int, onset: float, length: float) -> None:
    samples = np.zeros(8 * SAMPLE_RATE, np.float32)
    first, end = round(onset * SAMPLE_RATE), round((onset + length) * SAMPLE_RATE)
    samples[first:end] = tone(HIGH, 3.0)[: end - first]
    made = composer(recording(samples, Span(first, end, 0)), grid=GRID)
    example = next(iter(made.plain(np.random.default_rng(seed))))
    assert example.target[0] == 1
    assert example.frame_known.all()
    padded = np.pad(example.samples, (0, GRID.count * 1280 - len(example.samples)))
    for frame, labelled in zip(padded.reshape(GRID.count, -1), example.frame_target, strict=True):
        before, after = (
            bool(np.abs(half).max() > 0.01) for half in (frame[590:640], frame[640:690])
        )
        if before == after:  # else the edge is at the frame's middle
            assert bool(labelled[0]) == before


def test_plain_windows_are_the_recording_itself() -> None:
    short, long = whole(tone(LOW, 1.0), 0), whole(tone(HIGH, 5.0), 1)
    one, other = composer(short, long, exclusive=True).plain(np.random.default_rng(0))
    np.testing.assert_array_equal(one.samples, short.samples)
    assert len(other.samples) == WINDOW
    places = np.lib.stride_tricks.sliding_window_view(long.samples, WINDOW)
    assert any(np.array_equal(place, other.samples) for place in places[::160])


def test_plain_windows_cover_a_background_whole() -> None:
    background = recording(hiss(6.0))
    made = composer(whole(tone(LOW, 1.0), 0), background)
    _, *quiet = made.plain(np.random.default_rng(0))
    np.testing.assert_array_equal(np.concatenate([e.samples for e in quiet]), background.samples)


def test_a_label_of_which_too_little_is_seen_is_left_unsaid() -> None:
    samples = np.concatenate([tone(LOW, 2.4), tone(HIGH, 2.4)])
    half = len(samples) // 2
    made = composer(
        recording(samples, Span(0, half, 0), Span(half, len(samples), 1)),
    )
    unsaid = 0
    for seed in range(100):
        example = made.compose(np.random.default_rng(seed))
        assert (example.known >= example.target).all()
        unsaid += int((example.known == 0).any())
    assert 5 < unsaid < 95


def test_frames_outside_the_recording_are_unknown_where_labels_exclude_each_other() -> None:
    made = composer(whole(tone(LOW, 0.5), 0), whole(tone(HIGH, 0.5), 1), grid=GRID, exclusive=True)
    for seed in range(30):
        example = made.compose(np.random.default_rng(seed))
        np.testing.assert_array_equal(
            example.frame_known.any(axis=1), example.frame_target.any(axis=1)
        )
        assert 3 <= example.frame_target.sum() <= 8


def test_noise_has_the_level_that_was_asked_for() -> None:
    for seed in range(5):
        made = noise(np.random.default_rng(seed), 20_000, 0.1)
        assert made.dtype == np.float32
        assert np.sqrt(np.mean(np.square(made))) == pytest.approx(0.1, rel=1e-3)
