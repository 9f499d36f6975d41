"""Alarms of homes, synthesised: their rhythms are standards, their tones vary little.

ISO 8201 (T3, smoke): half a second on, half a second off, three times, then a pause of 1.5 s.
NFPA 72 (T4, carbon monoxide): four beeps of 0.1 s, 0.1 s apart, then a pause of 5 s.
Either is a whistle near 3.1 kHz or, from newer sounders, a square wave of 520 Hz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, FloatArray

SHIFT = SAMPLE_RATE // 100
"""Samples from a frame to the next."""

Generator = np.random.Generator


@dataclass(frozen=True)
class Alarm:
    samples: FloatArray
    """(n,) float32."""
    on: NDArray[np.bool_]
    """(t,) frames of 10 ms in which it beeps."""


def smoke(rng: Generator, seconds: float = 14) -> Alarm:
    """T3, its times within a tenth of the standard's."""
    on, off, pause = np.array([0.5, 0.5, 1.5]) * rng.uniform(0.93, 1.07, 3)
    return _sound(rng, [(on, off), (on, off), (on, pause)], _sounder(rng), seconds)


def carbon_monoxide(rng: Generator, seconds: float = 14) -> Alarm:
    """T4, its times within a tenth of the standard's."""
    on, off, pause = np.array([0.1, 0.1, 5.0]) * rng.uniform(0.9, 1.1, 3)
    return _sound(rng, [(on, off), (on, off), (on, off), (on, pause)], _sounder(rng), seconds)


def beeps(rng: Generator, seconds: float = 7) -> Alarm:
    """Beeps of an oven, a lorry or a till: any tone, in a rhythm that is no alarm's."""
    while True:
        on, off = np.exp(rng.uniform(np.log(0.06), np.log(1.2), 2))
        count, pause = int(rng.integers(1, 7)), rng.uniform(0.8, 6)
        like_smoke = count == 3 and abs(on - 0.5) < 0.2 and abs(off - 0.5) < 0.2
        like_monoxide = count == 4 and on < 0.2 and off < 0.2
        if not like_smoke and not like_monoxide:
            break
    rhythm = [(on, off)] * (count - 1) + [(on, pause)]
    return _sound(rng, rhythm, _any_tone(rng), seconds)


def steady(rng: Generator, seconds: float = 20) -> Alarm:
    """Half a second on, half a second off and no pause, as a lorry that backs; any tone."""
    on, off = 0.5 * rng.uniform(0.93, 1.07, 2)
    return _sound(rng, [(on, off)], _any_tone(rng), seconds)


def _sounder(rng: Generator) -> tuple[float, bool]:
    """Hertz, and whether it is a square wave."""
    if rng.random() < 0.75:
        return float(rng.uniform(2800, 3500)), bool(rng.random() < 0.3)
    return float(rng.uniform(490, 550)), True


def _any_tone(rng: Generator) -> tuple[float, bool]:
    """The same, of something that is no alarm."""
    return float(np.exp(rng.uniform(np.log(400), np.log(4500)))), rng.random() < 0.3


def _sound(
    rng: Generator,
    rhythm: list[tuple[float, float]],
    tone: tuple[float, bool],
    seconds: float,
) -> Alarm:
    """The rhythm from its beginning, again and again, with edges of a few milliseconds."""
    length = round(seconds * SAMPLE_RATE)
    gate = np.zeros(length)
    at = rng.uniform(0.05, 0.5)
    while at < seconds:
        for on, off in rhythm:
            gate[round(at * SAMPLE_RATE) : round((at + on) * SAMPLE_RATE)] = 1
            at += on + off
    hertz, square = tone
    time = np.arange(length) / SAMPLE_RATE
    harmonics = range(1, int(7800 / hertz) + 1, 2 if square else 1)
    wave = np.zeros(length)
    for n in harmonics:
        strength = 1 / n if square else 10 ** (-rng.uniform(0.7, 2) * (n - 1))
        wave += strength * np.sin(2 * np.pi * n * hertz * time + rng.uniform(0, 6.28))
    edge = max(1, round(rng.uniform(0.001, 0.01) * SAMPLE_RATE))
    smooth = np.convolve(gate, np.full(edge, 1 / edge), "same")
    noise = 10 ** rng.uniform(-5, -3) * rng.standard_normal(length)
    frames = 1 + (length - 400) // SHIFT
    beeping = gate[200 : 200 + frames * SHIFT : SHIFT] > 0
    return Alarm((0.3 * wave * smooth + noise).astype(np.float32), beeping[:frames])
