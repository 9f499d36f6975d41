"""Recordings for the benchmark of CTC words: which words they say, when, and who may train.

The recordings come without transcripts in time and without speakers. A wake word alone in a quiet
recording needs neither: it is where the energy is.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile as sf

from detector.csv_table import read_csv
from detector.records import SAMPLE_RATE, FloatArray

FOLDER: Final = Path(
    os.environ.get("AUDIO_DATA") or Path(__file__).parent.parent.parent / "shared" / "data"
)
PHRASES: Final = (
    "alexa",
    "amelia",
    "athena",
    "computer",
    "jarvis",
    "smart mirror",
    "snowboy",
    "view glass",
)
WORDS: Final = tuple(sorted({word for phrase in PHRASES for word in phrase.split()}))
OTHER: Final = "not-wake-words"
"""Other speech. The recordings of "hey computer" are left out: they are neither."""
_HELD_OUT_EVERY: Final = 5
_SAME: Final = 0.6
"""Two recordings whose waveforms correlate so much, at some shift, are one recording."""

_FRAME: Final = SAMPLE_RATE // 50
_SUSTAINED: Final = 3
"""Frames: a click is shorter."""
_RANGE_DB: Final = 25.0
"""What is as much below the loudest level is no more of the phrase."""
_ROUGH_DB: Final = 15.0
"""As much leaves out soft beginnings and ends, but can be told in more noise."""
_PAUSE: Final = 0.25
"""Seconds without energy inside a phrase: the closure of a plosive, or between two words."""


@dataclass(frozen=True, slots=True)
class Utterance:
    filename: str
    phrase: str
    """One of PHRASES, or "" for other speech."""
    samples: FloatArray
    """(n,) float32 at 16 kHz."""
    span: tuple[int, int] | None
    """Samples from the phrase's onset to its offset; None where it cannot be told by energy."""
    rough_span: tuple[int, int] | None
    """As `span`, and a less exact one for recordings with some noise."""
    held_out: bool


def utterances() -> list[Utterance]:
    """All recordings of the phrases and of other speech; every fifth of each is held out."""
    table = read_csv(FOLDER / "speech" / "speech.csv", ("filename", "phrase"))
    rows = [(row["filename"], row["phrase"].split("/")[0]) for row in table]
    found = []
    for phrase in (*PHRASES, OTHER):
        names = [filename for filename, said in rows if said == phrase]
        sounds = [_read(FOLDER / "speech" / "audio" / name) for name in names]
        for name, samples, held_out in zip(names, sounds, _split(sounds), strict=True):
            if phrase == OTHER:
                found.append(Utterance(name, "", samples, None, None, held_out))
                continue
            span = span_of(samples, _RANGE_DB)
            rough = span or span_of(samples, _ROUGH_DB)
            found.append(Utterance(name, phrase, samples, span, rough, held_out))
    return found


def background(*, held_out: bool) -> list[FloatArray]:
    """Noises of places: of each recording the last third is held out."""
    table = read_csv(FOLDER / "background" / "background.csv", ("filename",))
    names = [row["filename"] for row in table]
    sounds = [_read(FOLDER / "background" / "audio" / name) for name in names]
    return [s[2 * len(s) // 3 :] if held_out else s[: 2 * len(s) // 3] for s in sounds]


def clips(*, held_out: bool) -> list[FloatArray]:
    """Sounds of ESC-50 that are no speech: of the first four folds, or of the fifth."""
    table = read_csv(FOLDER / "esc50" / "esc50.csv", ("filename", "fold", "licence_group"))
    names = [
        row["filename"]
        for row in table
        if (int(row["fold"]) == 5) == held_out and row["licence_group"] == "CC0/CC-BY"
    ]
    return [_read(FOLDER / "esc50" / "audio" / name) for name in names]


def span_of(samples: FloatArray, range_db: float = _RANGE_DB) -> tuple[int, int] | None:
    """Where the phrase is: the stretch with most energy not far below the loudest level.

    Args:
        samples: (n,) float32 at 16 kHz, with one phrase in it.
        range_db: what is as much below the loudest level is no more of the phrase.

    Returns:
        Its first sample and the one after its last, to 20 ms; None if the recording is too noisy,
        begins or ends with the phrase, or has a stretch that no phrase can have.
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    levels = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    sustained = np.lib.stride_tricks.sliding_window_view(levels, _SUSTAINED).min(axis=1).max()
    loud = np.flatnonzero(levels > sustained - range_db)
    breaks = np.flatnonzero(np.diff(loud) > _PAUSE * SAMPLE_RATE / _FRAME)
    stretches = np.split(loud, breaks + 1)
    frame = max(stretches, key=lambda s: float(np.sum(10 ** (levels[s] / 10))))
    first, end = int(frame[0]), int(frame[-1]) + 1
    around = np.concatenate((levels[:first], levels[end:]))
    seconds = (end - first) * _FRAME / SAMPLE_RATE
    alone = first > 1 and end < len(levels) - 1
    if not alone or not 0.25 <= seconds <= 1.6:
        return None
    if np.quantile(around, 0.75) > sustained - range_db * 1.2:
        return None
    return first * _FRAME, end * _FRAME


def _split(sounds: list[FloatArray]) -> list[bool]:
    """Whether each is held out; copies of a recording (there are some) stay on one side."""
    groups: list[list[int]] = []
    spectra = np.array([_spectrum(sound) for sound in sounds])
    for i, spectrum in enumerate(spectra):
        shifted = np.abs(np.fft.irfft(spectra[:i] * spectrum.conj(), axis=1))
        same = set(np.flatnonzero(shifted.max(axis=1, initial=0) > _SAME))
        joined = [group for group in groups if same & set(group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(j for group in joined for j in group), i])
    groups.sort(key=min)
    held_out = [False] * len(sounds)
    for group in groups[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]:
        for i in group:
            held_out[i] = True
    return held_out


def _spectrum(samples: FloatArray) -> np.ndarray:
    """Of the recording at a quarter of its rate, with unit energy."""
    coarse = samples[: len(samples) // 4 * 4].reshape(-1, 4).mean(axis=1)
    coarse = coarse - coarse.mean()
    return np.fft.rfft(coarse / (np.linalg.norm(coarse) + 1e-9), 2**15)


def _read(path: Path) -> FloatArray:
    samples, rate = sf.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise ValueError(f"{path}: {rate} Hz; expected {SAMPLE_RATE}")
    return np.asarray(samples, np.float32)
