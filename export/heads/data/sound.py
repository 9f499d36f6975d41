"""Noise, levels and edges of sounds."""

import math

import numpy as np

from detector.records import FloatArray
from export.heads.data.events import STEP, Mask

FADE = STEP
"""Samples in which a recording that begins or ends within a window comes and goes."""


def noise(rng: np.random.Generator, size: int, level: float) -> FloatArray:
    """(size,) noise of any colour from white to brown, of this root mean square."""
    lines = np.fft.rfft(rng.standard_normal(size))
    lines *= np.maximum(np.arange(len(lines)), 1) ** -rng.uniform(0, 1)
    lines[0] = 0
    samples = np.fft.irfft(lines, size)
    return np.asarray(samples * (level / max(float(samples.std()), 1e-12)), np.float32)


def faded(sound: FloatArray, *, begins: bool, ends: bool) -> FloatArray:
    """Without a click where the recording begins or ends within the window."""
    sound = sound.copy()
    size = min(FADE, len(sound))
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    if begins:
        sound[:size] *= ramp
    if ends:
        sound[len(sound) - size :] *= ramp[::-1]
    return sound


def level_of(sound: FloatArray, active: Mask) -> float:
    """Root mean square of the active part of a sound."""
    weights = np.repeat(active, STEP)[: len(sound)]
    weights = np.pad(weights, (0, len(sound) - len(weights)), mode="edge")
    chosen = sound[weights] if weights.any() else sound
    return max(math.sqrt(float(np.mean(np.square(chosen, dtype=np.float64)))), 1e-6)


def amplitude_of(decibels: float) -> float:
    """The factor of an amplitude that is so many decibels."""
    return float(10 ** (decibels / 20))


def bounded(samples: FloatArray) -> FloatArray:
    """No louder than full scale."""
    peak = float(np.abs(samples).max(initial=0))
    return samples if peak <= 1 else samples / np.float32(peak)
