"""A minute of sound mixed from held-out recordings, with what is in it and when."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

RATE = 16_000
SECONDS = 60
PLACES = (4.0, 13.0, 22.0, 31.0, 40.0, 49.0)
"""Where the recordings begin, in seconds."""
_FRAME = RATE // 50
_AUDIBLE_DB = 30.0


@dataclass(frozen=True, slots=True)
class Truth:
    label: str
    onset_s: float


def render(path: Path, recordings: dict[str, Path]) -> list[Truth]:
    """Write the scene to `path`; say what was put where.

    Args:
        path: a WAV file.
        recordings: a recording for each label, 16 kHz; as many as there are places.
    """
    rng = np.random.default_rng(7)
    scene = rng.standard_normal(SECONDS * RATE) * 10 ** (-66 / 20)
    truth = []
    for place, (label, recording) in zip(PLACES, recordings.items(), strict=True):
        samples, rate = sf.read(recording)
        assert rate == RATE
        samples *= 0.5 / np.abs(samples).max()
        start = round(place * RATE)
        scene[start : start + len(samples)] += samples
        truth.append(Truth(label, place + onset(samples)))
    sf.write(path, scene, RATE)
    return truth


def onset(samples: np.ndarray) -> float:
    """Seconds until the sound is first within 30 dB of its loudest 20 ms."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    level = np.square(frames).mean(axis=1)
    audible = level >= level.max() * 10 ** (-_AUDIBLE_DB / 10)
    return float(np.argmax(audible)) * _FRAME / RATE
