"""Real recordings: where they are, and how a test says that they are absent.

They lie in the folder that AUDIO_DATA names, else in shared/data beside the repository.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.records import SAMPLE_RATE, FloatArray

FOLDER = Path(
    os.environ.get("AUDIO_DATA") or Path(__file__).parent.parent.parent / "shared" / "data"
)
HELD_OUT_FOLD = 5
"""The fold of ESC-50 that trains and tunes nothing that ships."""

_INDEX = FOLDER / "esc50" / "esc50.csv"

needs_recordings = pytest.mark.skipif(
    not _INDEX.is_file(), reason=f"no recordings in {FOLDER}; AUDIO_DATA names another folder"
)
"""Skips a test, with the reason, where there are no recordings."""


def held_out_clips() -> dict[str, list[Path]]:
    """Five-second clips of the held-out fold by category, both in alphabetical order."""
    if not _INDEX.is_file():
        return {}
    clips: dict[str, list[Path]] = {}
    with _INDEX.open(newline="") as file:
        for row in csv.DictReader(file):
            if int(row["fold"]) == HELD_OUT_FOLD:
                path = FOLDER / "esc50" / "audio" / row["filename"]
                clips.setdefault(row["category"], []).append(path)
    return {category: sorted(clips[category]) for category in sorted(clips)}


def read(path: Path) -> FloatArray:
    """(n,) float32 at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{path}: {rate} Hz, shape {samples.shape}; expected mono at 16 kHz")
    return np.asarray(samples, np.float32)
