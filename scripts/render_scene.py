"""Renders a scene of synthetic sounds, for a first look at the detector without a microphone."""

import argparse
import wave

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Sound = NDArray[np.float64]


def seconds(duration: float) -> Sound:
    return np.arange(int(duration * RATE)) / RATE


def alarm_clock(duration: float) -> Sound:
    """Groups of four short beeps a second, as a cheap digital clock makes them."""
    t = seconds(duration)
    tone = np.sign(np.sin(2 * np.pi * 2050 * t)) * 0.5 + np.sin(2 * np.pi * 4100 * t) * 0.2
    beeping = (t % 1.0 < 0.5) & (t % 0.125 < 0.0625)
    return tone * beeping


def siren(duration: float) -> Sound:
    """A wail: the pitch goes up and down between 600 and 1400 Hz."""
    t = seconds(duration)
    pitch = 1000 - 400 * np.cos(2 * np.pi * t / 4.0)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return np.asarray(sum(np.sin(k * phase) / k for k in (1, 2, 3)))


def church_bells(duration: float) -> Sound:
    """Strokes of two bells, each a sum of decaying partials: hum, prime, tierce, quint, ..."""
    sound = np.zeros(int(duration * RATE))
    for stroke, at in enumerate(np.arange(0, duration - 0.5, 1.1)):
        note = (440, 523)[stroke % 2]
        t = seconds(duration - at)
        bell = sum(
            level * np.exp(-t * decay) * np.sin(2 * np.pi * note * ratio * t)
            for ratio, level, decay in (
                (0.5, 0.5, 0.7), (1, 0.8, 1.0), (1.2, 0.6, 1.5), (1.5, 0.4, 2.0), (2, 1.0, 1.6),
                (2.66, 0.4, 3.0), (3, 0.4, 3.5), (4, 0.3, 5.0),
            )
        )  # fmt: skip
        sound[-len(t) :] += np.asarray(bell)
    return sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="where to write it (.wav)")
    file = parser.parse_args().file
    rng = np.random.default_rng(1)
    scene = 0.0005 * rng.standard_normal(30 * RATE)
    for at, sound in ((3, alarm_clock(5)), (12, siren(6)), (21, church_bells(6))):
        start = at * RATE
        scene[start : start + len(sound)] += 0.3 * sound / np.abs(sound).max()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, RATE, 0, "NONE", ""))
        target.writeframes(np.round(scene * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
