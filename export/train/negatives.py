"""Sounds that are none of the labels, synthesised: hum, tones, radio buzz, bells and telephones."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, FloatArray

Generator = np.random.Generator
Wave = NDArray[np.float64]
SECONDS: Final = 12.0
GSM_FRAME_HZ: Final = 217.0
"""Bursts of a telephone of GSM, eight time slots each; 26 of them make 120 ms."""
NYQUIST: Final = 7800.0


def hum(rng: Generator) -> FloatArray:
    """Mains of 50 or 60 Hz and its harmonics: a square, what a rectifier leaves, or any."""
    time = _time()
    mains = float(rng.choice((50.0, 60.0))) * rng.uniform(0.998, 1.002)
    kind = rng.integers(3)
    if kind == 0:
        wave = np.sign(np.sin(2 * np.pi * mains * time)) + 0.0
    elif kind == 1:
        wave = np.abs(np.sin(2 * np.pi * mains * time)) - 2 / np.pi
    else:
        wave = np.zeros_like(time)
        for harmonic in range(1, int(rng.integers(4, 60))):
            strength = 10 ** (-rng.uniform(0, 1.5)) * harmonic ** -rng.uniform(0, 1)
            wave += strength * np.sin(2 * np.pi * mains * harmonic * time + rng.uniform(0, 6.28))
    return _levelled(rng, wave)


def tone(rng: Generator) -> FloatArray:
    """A whistle or a square wave that neither begins nor ends."""
    time = _time()
    hertz = float(np.exp(rng.uniform(np.log(100), np.log(5000))))
    if rng.random() < 0.4:
        hertz = rng.uniform(2800, 3500) if rng.random() < 0.7 else rng.uniform(490, 550)
    square = rng.random() < 0.3
    wave = np.zeros_like(time)
    for n in range(1, int(NYQUIST / hertz) + 1, 2 if square else 1):
        strength = 1 / n if square else 10 ** (-rng.uniform(0.5, 2) * (n - 1))
        wave += strength * np.sin(2 * np.pi * n * hertz * time + rng.uniform(0, 6.28))
    if rng.random() < 0.2:
        wave *= 1 + rng.uniform(0, 0.9) * np.sin(2 * np.pi * rng.uniform(0.2, 20) * time)
    return _levelled(rng, wave)


def radio_buzz(rng: Generator) -> FloatArray:
    """What an amplifier makes of a telephone nearby: pulses at 217 Hz, in groups or held."""
    time = _time()
    pulses = ((time * GSM_FRAME_HZ) % 1 < 1 / 8).astype(np.float64)
    pulses *= (time * GSM_FRAME_HZ / 26) % 1 < 25 / 26
    if rng.random() < 0.7:
        period, part = rng.uniform(0.3, 2.0), rng.uniform(0.2, 0.7)
        pulses *= (time / period + rng.random()) % 1 < part
    wave = np.convolve(pulses, rng.normal(0, 1, 6) * np.exp(-np.arange(6) / 2), "same")
    return _levelled(rng, wave - wave.mean())


def doorbell(rng: Generator) -> FloatArray:
    """Two or three struck tones, falling, or a melody of them."""
    count = int(rng.choice((2, 2, 2, 3, 8)))
    steps = [0, -4, -7] if count <= 3 else list(rng.integers(-12, 5, count))
    base, gap = float(np.exp(rng.uniform(np.log(450), np.log(1400)))), rng.uniform(0.25, 0.8)
    wave = np.zeros(round(SECONDS / 2 * SAMPLE_RATE))
    for i in range(count):
        _strike(rng, wave, 0.2 + i * gap, base * 2 ** (steps[i] / 12), rng.uniform(0.3, 1.5))
    return _levelled(rng, wave)


def telephone(rng: Generator) -> FloatArray:
    """A bell that is struck 20 times a second, or two tones in turn; it rings and pauses."""
    time = _time()
    low = rng.uniform(400, 1600)
    high, turn = low * rng.uniform(1.05, 1.5), rng.uniform(8, 25)
    phase = (time * turn) % 1
    wave = np.where(phase < 0.5, np.sin(2 * np.pi * low * time), np.sin(2 * np.pi * high * time))
    if rng.random() < 0.5:
        wave = (np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)) * np.exp(
            -phase * rng.uniform(0, 4)
        )
    on, off = rng.uniform(0.4, 2.0), rng.uniform(0.3, 4.0)
    return _levelled(rng, wave * ((time + rng.uniform(0, 1)) % (on + off) < on))


SOUNDS: Final[tuple[Callable[[Generator], FloatArray], ...]] = (doorbell, telephone)
STEADY: Final[tuple[Callable[[Generator], FloatArray], ...]] = (hum, tone, radio_buzz)


def _strike(rng: Generator, wave: Wave, at: float, hertz: float, decay: float) -> None:
    start = round(at * SAMPLE_RATE)
    time = np.arange(len(wave) - start) / SAMPLE_RATE
    for ratio in (1.0, 2.0, rng.uniform(2.4, 4.2)):
        if hertz * ratio < NYQUIST:
            strength = 1 / ratio * np.exp(-time * ratio / decay * 3)
            wave[start:] += strength * np.sin(2 * np.pi * hertz * ratio * time)


def _time() -> Wave:
    return np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE


def _levelled(rng: Generator, wave: Wave) -> FloatArray:
    noise = 10 ** rng.uniform(-5, -3) * rng.standard_normal(len(wave))
    return np.asarray(0.2 * wave / max(np.abs(wave).max(), 1e-9) + noise, np.float32)
