"""Minutes of sound in which it is known what is heard, and when.

    python -m export.train.soundscapes --data DIR --out DIR [--count 60] [--tuning]

Recordings are mixed over backgrounds at levels that are drawn; the same seed makes the same
soundscape, sample for sample. The command writes FLAC files and `reference.csv`, which
`detector evaluate` and `detector tune` read.

An event begins where its sound is first heard over the background and ends where it is last heard;
sounds of one recording with at most a second between them are one event, as in the built-in model.
A background may itself hold some labels (`Row.unknown`): no sound over it bears one of those, and
whoever detects one there is neither right nor wrong.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, FloatArray
from export.train.augment import Generator, Mask, active_frames, without_pauses
from export.train.data import (
    FBANK,
    FREE,
    HELD_OUT,
    Row,
    backgrounds,
    esc50,
    power_mel,
    read,
    speech,
)

MERGED = 100
"""Frames, 1 s: what pauses for no longer is one event."""
FAINT = 1e-2
"""What a recording holds beside its sound, 20 dB fainter at its loudest, is left out."""
FADE = 2 * FBANK.shift_samples
"""Samples, 20 ms: how fast a sound comes before its onset and goes after its offset."""
MARGIN = SAMPLE_RATE // 2
"""Samples at the beginning and at the end of a soundscape that hold the background alone."""
ATTEMPTS = 200
"""Places that are tried for a sound."""
BACKGROUND_DBFS = (-52.0, -36.0)
AUDIBLE = 3
"""Frames: what is heard for less is no event."""
PEAK = 0.9
TALK_QUIETER_DB = 25.0
TALK_PAUSE_S = (0.5, 1.5)
QUIET_DBFS = -60.0
"""What a quiet room sounds like between two utterances."""
IN_A_ROOM = 0.25
"""Share of the sounds that are heard in a room."""
FIRST_SAMPLE = (FBANK.frame_samples - FBANK.shift_samples) // 2
"""A frame stands for the samples in its middle, as many as its shift; of the first, from here."""


class Truth(NamedTuple):
    """An event that is in a soundscape."""

    onset_s: float
    offset_s: float
    label: str


@dataclass(frozen=True)
class Soundscape:
    samples: FloatArray
    """(n,) float32 at 16 kHz."""
    truth: tuple[Truth, ...]
    """In the order of their onsets."""
    unknown: tuple[str, ...]
    """Labels that the background may hold; `truth` has none of them."""


@dataclass(frozen=True)
class Mix:
    """How long, how loud and how dense."""

    seconds: float = 60.0
    snr_db: tuple[float, float] = (6.0, 24.0)
    """A sound's level while it is active over the background's, drawn between the two; both are
    means of mel energies, so frequencies weigh as they do for the detector."""
    sounds: int = 8
    """Recordings, each of another label."""
    at_once: int = 2
    """Recordings at a time, at most."""


@dataclass(frozen=True)
class _Sound:
    """A recording cut to its sound."""

    samples: FloatArray
    power: FloatArray
    """(t, mel_bins)."""
    active: Mask
    """(t,)."""


def testing(data: Path) -> tuple[list[Row], list[Row]]:
    """Sounds that trained nothing and tuned nothing, and backgrounds that trained nothing."""
    clips = [clip for clip in esc50(data) if clip.fold == HELD_OUT]
    return clips + speech(data)[3::4], backgrounds(data)[1::2]


def tuning(data: Path) -> tuple[list[Row], list[Row]]:
    """Sounds that trained nothing and share no source with those for testing.

    They are clips whose licence keeps them from training, of 37 categories, and speech. The
    backgrounds are those that trained: the others are for testing.
    """
    clips = esc50(data)
    held_out = {clip.source for clip in clips if clip.fold == HELD_OUT}
    kept = [clip for clip in clips if clip.licence != FREE and clip.source not in held_out]
    return kept + speech(data)[1::4], backgrounds(data)[::2]


def make(
    rows: Sequence[Row],
    under: Sequence[Row],
    seed: int,
    mix: Mix = Mix(),
) -> Soundscape:
    """Mix some of the recordings `rows` over one of the backgrounds `under`.

    A sound that is not heard over the background, or for which no place is found, is left out.

    Raises:
        AudioFileError: a recording cannot be read.
    """
    rng = np.random.default_rng(seed)
    below = under[int(rng.integers(len(under)))]
    mixed = _background(rng, read(below.path), round(mix.seconds * SAMPLE_RATE))
    hum = power_mel(mixed).mean(axis=0)
    busy = np.zeros(len(mixed), np.uint8)
    truth = []
    for row in _draw(rng, rows, below.unknown, mix.sounds):
        sound = _cut(read(row.path))
        snr, room = 10 ** (rng.uniform(*mix.snr_db) / 10), rng.random() < IN_A_ROOM
        level = sound.power[sound.active].sum(axis=1).mean() if sound.active.any() else np.inf
        gain = snr * hum.sum() / level
        heard = sound.active & (sound.power * gain > hum).any(axis=1)
        at = _place(rng, len(sound.samples), busy, mix.at_once)
        if at is None or not _events(heard).any():
            continue
        busy[at : at + len(sound.samples)] += 1
        samples = _in_a_room(rng, sound.samples) if room else sound.samples
        samples = samples[: len(mixed) - at]
        mixed[at : at + len(samples)] += np.float32(np.sqrt(gain)) * samples
        truth += [
            Truth((at + onset) / SAMPLE_RATE, (at + offset) / SAMPLE_RATE, row.labels[0])
            for onset, offset in _spans(_events(heard))
        ]
    mixed *= min(1.0, PEAK / max(float(np.abs(mixed).max()), PEAK))
    return Soundscape(mixed, tuple(sorted(truth)), below.unknown)


def talk(utterances: Sequence[Row], seed: int) -> Soundscape:
    """All the utterances, one after the other in a quiet room; each near or far.

    Raises:
        AudioFileError: a recording cannot be read.
    """
    rng = np.random.default_rng(seed)
    pieces: list[FloatArray] = []
    truth, at = [], 0
    for row in utterances:
        samples = read(row.path) * np.float32(10 ** (-rng.uniform(0, TALK_QUIETER_DB) / 20))
        if rng.random() < IN_A_ROOM:
            samples = _in_a_room(rng, samples)
        truth.append(Truth(at / SAMPLE_RATE, (at + len(samples)) / SAMPLE_RATE, row.labels[0]))
        pause = np.zeros(round(rng.uniform(*TALK_PAUSE_S) * SAMPLE_RATE), np.float32)
        pieces += [samples, pause]
        at += len(samples) + len(pause)
    quiet = 10 ** (QUIET_DBFS / 20) * rng.standard_normal(at)
    mixed = np.concatenate(pieces) + quiet.astype(np.float32)
    return Soundscape(np.clip(mixed, -1, 1), tuple(truth), ())


def _background(rng: Generator, recording: FloatArray, length: int) -> FloatArray:
    """(length,) of a recording from anywhere on, again and again without a seam, at some level."""
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    loop = recording[:-FADE].copy()
    loop[:FADE] = loop[:FADE] * np.sqrt(ramp) + recording[-FADE:] * np.sqrt(1 - ramp)
    samples = loop[(rng.integers(len(loop)) + np.arange(length)) % len(loop)]
    level = 10 ** (rng.uniform(*BACKGROUND_DBFS) / 20)
    return np.asarray(samples * level / max(np.sqrt(np.mean(samples**2)), 1e-9), np.float32)


def _draw(
    rng: Generator, rows: Sequence[Row], unknown: tuple[str, ...], count: int
) -> Iterator[Row]:
    """A recording of each of `count` labels."""
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        if row.labels[0] not in unknown:
            by_label.setdefault(row.labels[0], []).append(row)
    for label in rng.permutation(sorted(by_label))[:count]:
        choices = by_label[label]
        yield choices[int(rng.integers(len(choices)))]


def _cut(samples: FloatArray) -> _Sound:
    """A recording from its sound's first onset to its last offset; silence where it pauses."""
    power = power_mel(samples)
    energy = power.sum(axis=1)
    active = active_frames(power)
    for first, end in _stretches(without_pauses(active, MERGED)):
        if energy[first:end].max() < FAINT * energy.max():
            active[first:end] = False
    sample = np.arange(len(samples))
    gate = np.zeros(len(samples))
    for onset, offset in _spans(without_pauses(active, MERGED)):
        since = sample - max(onset, FADE)
        left = min(offset, len(samples) - FADE) - sample
        gate = np.maximum(gate, np.minimum(since, left) / FADE + 1)
    first = max(0, int(np.argmax(active)) - FADE // FBANK.shift_samples)
    end = int(np.flatnonzero(gate)[-1]) + 1 if active.any() else 0
    kept = np.asarray(samples * np.minimum(gate, 1), np.float32)
    kept = kept[first * FBANK.shift_samples : end]
    power = power_mel(kept)
    return _Sound(kept, power, active[first : first + len(power)])


def _events(heard: Mask) -> Mask:
    """Without pauses, and without what is too short."""
    events = without_pauses(heard, MERGED)
    for first, end in _stretches(events):
        events[first:end] = end - first >= AUDIBLE
    return events


def _stretches(mask: Mask) -> list[tuple[int, int]]:
    """First frame and end of each run of frames in the mask."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _spans(mask: Mask) -> list[tuple[int, int]]:
    """The samples, from onset to offset, that each run of frames stands for."""
    return [
        (first * FBANK.shift_samples + FIRST_SAMPLE, end * FBANK.shift_samples + FIRST_SAMPLE)
        for first, end in _stretches(mask)
    ]


def _place(rng: Generator, length: int, busy: NDArray[np.uint8], at_once: int) -> int | None:
    """Where `length` samples begin, so that nowhere too many sounds are heard together."""
    last = len(busy) - MARGIN - length
    if last < MARGIN:
        return None
    for at in rng.integers(MARGIN, last + 1, ATTEMPTS):
        if busy[at : at + length].max(initial=0) < at_once:
            return int(at)
    return None


def _in_a_room(rng: Generator, samples: FloatArray) -> FloatArray:
    """The sound, then noise that dies away by 60 dB, 3 to 12 dB fainter in all."""
    length = round(rng.uniform(0.2, 0.6) * SAMPLE_RATE)
    response = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response *= 10 ** (-rng.uniform(3, 12) / 20) / np.linalg.norm(response)
    response[0] = 1
    size = len(samples) + length - 1
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return np.asarray(heard, np.float32)


def write(folder: Path, soundscapes: Iterable[Soundscape]) -> None:
    """FLAC files of 16 bits and their `reference.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "reference.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("filename", "onset", "offset", "event_label"))
        for number, soundscape in enumerate(soundscapes):
            name = f"soundscape_{number:03}.flac"
            soundfile.write(folder / name, soundscape.samples, SAMPLE_RATE, subtype="PCM_16")
            for event in soundscape.truth:
                table.writerow((name, f"{event.onset_s:.3f}", f"{event.offset_s:.3f}", event.label))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train.soundscapes")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder of the soundscapes")
    parser.add_argument("--count", type=int, default=60, help="how many, of a minute each")
    parser.add_argument("--seed", type=int, default=0, help="of the first; each has the next one")
    parser.add_argument(
        "--tuning", action="store_true", help="for choosing thresholds, not for testing"
    )
    options = parser.parse_args()
    rows, under = (tuning if options.tuning else testing)(options.data)
    seeds = range(options.seed, options.seed + options.count)
    write(options.out, (make(rows, under, seed) for seed in seeds))


if __name__ == "__main__":
    main()
