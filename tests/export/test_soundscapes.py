"""Soundscapes hold what their truth says, where and as loud as it says."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.records import SAMPLE_RATE, FloatArray
from export.train import soundscapes
from export.train.data import Row, power_mel
from export.train.soundscapes import FADE, Mix, Soundscape, Truth, make, talk, write
from tests.recordings import FOLDER, needs_recordings

LABELS = tuple("abcdefgh")
EDGE = FADE // 160 + 3
"""Frames: a fade, and the length of a frame beyond its shift."""


def tone(hertz: float, seconds: float) -> FloatArray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.1 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def silence(seconds: float) -> FloatArray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def row(folder: Path, name: str, *parts: FloatArray, unknown: tuple[str, ...] = ()) -> Row:
    """A recording; of a label if its name is one letter."""
    path = folder / f"{name}.wav"
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE, subtype="FLOAT")
    return Row(path, (name,) if name in LABELS else (), "test", "CC0", unknown=unknown)


@pytest.fixture
def hiss(tmp_path: Path) -> Row:
    noise = 0.01 * np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE)
    return row(tmp_path, "hiss", noise.astype(np.float32))


@pytest.fixture
def tones(tmp_path: Path) -> list[Row]:
    """Tones of 0.6 to 2 s, 400 Hz apart, in the midst of silence."""
    return [
        row(tmp_path, label, silence(1), tone(600 + 400 * i, 0.6 + 0.2 * i), silence(1))
        for i, label in enumerate(LABELS)
    ]


def added(rows: list[Row], hiss: Row, seed: int, mix: Mix) -> tuple[Soundscape, FloatArray]:
    """A soundscape, and (t,) the energy that the recordings add to each frame.

    That is in units of the background's mean energy.
    """
    whole = make(rows, [hiss], seed, mix)
    bare = make(rows, [hiss], seed, replace(mix, sounds=0)).samples
    beginning = slice(soundscapes.MARGIN)  # holds the background alone
    bare *= np.linalg.norm(whole.samples[beginning]) / np.linalg.norm(bare[beginning])
    background = power_mel(bare).sum(axis=1).mean()
    return whole, power_mel(whole.samples - bare).sum(axis=1) / background


def frames_of(event: Truth) -> slice:
    return slice(round(event.onset_s * 100), round(event.offset_s * 100))


def test_the_same_seed_makes_the_same_soundscape(tones: list[Row], hiss: Row) -> None:
    one, again, other = (make(tones, [hiss], seed) for seed in (3, 3, 4))
    assert np.array_equal(one.samples, again.samples)
    assert one.truth == again.truth
    assert not np.array_equal(one.samples, other.samples)
    assert one.truth != other.truth


@pytest.mark.parametrize("seed", range(3))
def test_sound_is_added_where_the_truth_has_an_event_and_nowhere_else(
    tones: list[Row], hiss: Row, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundscapes, "IN_A_ROOM", 0.0)
    soundscape, energy = added(tones, hiss, seed, Mix(seconds=30))
    inside, near = np.zeros(len(energy), bool), np.zeros(len(energy), bool)
    for event in soundscape.truth:
        span = frames_of(event)
        inside[span.start + EDGE : span.stop - EDGE] = True
        near[span.start - EDGE : span.stop + EDGE] = True
    assert len(soundscape.truth) == len(tones)
    assert energy[inside].min() > 1e-3 * energy.max()
    assert energy[~near].max() < 1e-6 * energy.max()


def test_events_last_as_long_as_their_sounds(tones: list[Row], hiss: Row) -> None:
    for event in make(tones, [hiss], 0).truth:
        seconds = 0.6 + 0.2 * LABELS.index(event.label)
        assert event.offset_s - event.onset_s == pytest.approx(seconds, abs=0.03)


@pytest.mark.parametrize("snr_db", [0.0, 12.0, 24.0])
def test_sounds_are_as_loud_as_asked(
    tones: list[Row], hiss: Row, snr_db: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundscapes, "IN_A_ROOM", 0.0)
    mix = Mix(snr_db=(snr_db, snr_db), at_once=1)
    soundscape, energy = added(tones, hiss, 1, mix)
    for event in soundscape.truth:
        span = frames_of(event)
        level = energy[span.start + EDGE : span.stop - EDGE].mean()
        assert 10 * np.log10(level) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_no_more_sounds_overlap_than_allowed_and_as_many_do(
    tones: list[Row], hiss: Row, seed: int, at_once: int
) -> None:
    truth = make(tones, [hiss], seed, Mix(seconds=12, at_once=at_once)).truth
    counts = [sum(e.onset_s <= event.onset_s < e.offset_s for e in truth) for event in truth]
    assert max(counts) == at_once


def test_pauses_up_to_a_second_do_not_part_events(tmp_path: Path, hiss: Row) -> None:
    parts = [tone(900, 0.5), silence(0.8), tone(900, 0.5), silence(1.5), tone(900, 0.5)]
    truth = make([row(tmp_path, "a", *parts)], [hiss], 0).truth
    lengths = [event.offset_s - event.onset_s for event in truth]
    assert lengths == pytest.approx([1.8, 0.5], abs=0.03)


def test_what_is_faint_in_a_recording_is_left_out(tmp_path: Path, hiss: Row) -> None:
    faint = 0.05 * tone(900, 0.5)
    sound = row(tmp_path, "a", faint, silence(1.5), tone(900, 0.5))
    soundscape, energy = added([sound], hiss, 0, Mix())
    (event,) = soundscape.truth
    before = energy[: frames_of(event).start - EDGE]
    assert before.max() < 1e-6 * energy.max()


def test_an_event_begins_and_ends_where_the_background_masks_its_sound(
    tmp_path: Path, hiss: Row
) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(4 * SAMPLE_RATE)
    swell = noise * 10 ** (-1.4 * np.abs(np.linspace(-1, 1, len(noise))))  # 28 dB up and down
    sound = row(tmp_path, "a", silence(0.5), swell.astype(np.float32), silence(0.5))
    lengths = []
    for snr_db in (0.0, 20.0):
        (event,) = make([sound], [hiss], 0, Mix(snr_db=(snr_db, snr_db))).truth
        lengths.append(event.offset_s - event.onset_s)
    assert lengths[0] < lengths[1] - 0.5


def test_no_event_bears_a_label_that_the_background_may_hold(
    tones: list[Row], tmp_path: Path
) -> None:
    under = row(tmp_path, "street", 0.1 * tone(100, 5), unknown=("a", "b"))
    for seed in range(3):
        soundscape = make(tones, [under], seed)
        assert soundscape.unknown == ("a", "b")
        assert {event.label for event in soundscape.truth} == set(LABELS) - {"a", "b"}


def test_a_short_background_goes_on_without_a_seam(tmp_path: Path) -> None:
    hum = row(tmp_path, "hum", tone(100, 2.0))
    samples = make([], [hum], 0, Mix(seconds=9)).samples
    assert np.abs(np.diff(samples)).max() < 1.5 * np.abs(np.diff(samples[:1000])).max()


def test_silence_makes_no_event(tmp_path: Path, hiss: Row) -> None:
    assert make([row(tmp_path, "a", silence(2))], [hiss], 0).truth == ()


def test_nothing_is_clipped(tones: list[Row], hiss: Row) -> None:
    soundscape = make(tones, [hiss], 0, Mix(snr_db=(60, 60)))
    assert np.abs(soundscape.samples).max() == pytest.approx(0.9, abs=1e-3)


def test_talk_is_one_utterance_after_the_other_with_pauses(tones: list[Row]) -> None:
    heard = talk(tones, 1)
    assert [event.label for event in heard.truth] == [row.labels[0] for row in tones]
    quiet = 10 ** (soundscapes.QUIET_DBFS / 20)
    ends = [event.offset_s for event in heard.truth]
    for end, onset in pairwise([*ends, len(heard.samples) / SAMPLE_RATE]):
        pause = heard.samples[round(end * SAMPLE_RATE) :][: SAMPLE_RATE // 2]
        assert np.sqrt(np.square(pause).mean()) == pytest.approx(quiet, rel=0.1)
        assert onset > end
    again, other = talk(tones, 1), talk(tones, 2)
    assert np.array_equal(heard.samples, again.samples)
    assert len(other.samples) != len(heard.samples)


def test_what_is_written_is_what_was_made(tmp_path: Path, tones: list[Row], hiss: Row) -> None:
    soundscape = make(tones, [hiss], 0, Mix(seconds=20))
    write(tmp_path / "out", [soundscape])
    samples, rate = soundfile.read(tmp_path / "out" / "soundscape_000.flac", dtype="float32")
    assert rate == SAMPLE_RATE
    assert np.abs(samples - soundscape.samples).max() < 1e-4
    header, *lines = (tmp_path / "out" / "reference.csv").read_text().splitlines()
    assert header == "filename,onset,offset,event_label"
    first = soundscape.truth[0]
    assert lines[0] == f"soundscape_000.flac,{first.onset_s:.3f},{first.offset_s:.3f},{first.label}"
    assert len(lines) == len(soundscape.truth)


@pytest.mark.recordings
@needs_recordings
def test_recordings_for_testing_and_for_tuning_have_nothing_in_common() -> None:
    (sounds, under), (other_sounds, other_under) = (
        soundscapes.testing(FOLDER),
        soundscapes.tuning(FOLDER),
    )
    assert not {r.path for r in sounds + under} & {r.path for r in other_sounds + other_under}
    clips, other_clips = ({r.source for r in rows if r.fold} for rows in (sounds, other_sounds))
    assert not clips & other_clips
    assert {r.fold for r in sounds} == {5, 0}
    assert {r.fold for r in other_sounds} == {1, 2, 3, 4, 0}


@pytest.mark.recordings
@needs_recordings
def test_a_minute_of_recordings_holds_events_within_it() -> None:
    sounds, under = soundscapes.testing(FOLDER)
    soundscape = make(sounds, under, 0)
    assert len(soundscape.samples) == 60 * SAMPLE_RATE
    assert len(soundscape.truth) >= 6
    assert all(0.5 <= e.onset_s < e.offset_s <= 59.5 for e in soundscape.truth)
    assert not {event.label for event in soundscape.truth} & set(soundscape.unknown)
