"""What becomes of a sound on its way to a microphone, and from there to the detector.

Each condition takes (n,) float32 samples at 16 kHz and returns as many. What is random about it
comes from the generator that it is given, so the same seed makes the same sound.
"""

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, FloatArray

BLOCK = SAMPLE_RATE // 100
"""Samples over which a level is taken."""
OPUS_BITS_PER_S = 16_000

Generator = np.random.Generator


def low_passed(samples: FloatArray, hertz: int = 3400) -> FloatArray:
    """What a recording at a rate of twice `hertz` keeps: as a telephone, nothing above it."""
    narrow = soxr.resample(samples, SAMPLE_RATE, 2 * hertz)
    return fitted(soxr.resample(narrow, 2 * hertz, SAMPLE_RATE), len(samples))


def in_room(
    samples: FloatArray, rng: Generator, rt60_s: float = 0.5, direct_db: float = 0.0
) -> FloatArray:
    """Heard in a room; as loud as before on the whole, for the response has an energy of 1."""
    return convolved(samples, room(rng, rt60_s, direct_db))


def with_background(
    samples: FloatArray, background: FloatArray, rng: Generator, snr_db: float = 10.0
) -> FloatArray:
    """Over a stretch of `background`, from a random place in it, repeated if it is shorter.

    The ratio is that of the sound while it sounds (`loudness`) to the mean of the stretch: pauses,
    and the silence that some clips end in, do not make the background fainter.
    """
    under = np.take(
        background, rng.integers(len(background)) + np.arange(len(samples)), mode="wrap"
    )
    noise = max(float(np.square(under, dtype=np.float64).mean()), 1e-12)
    gain = np.float32(amplitude(-snr_db) * np.sqrt(loudness(samples) / noise))
    return samples + gain * under


def quieter(samples: FloatArray, decibels: float = 20.0) -> FloatArray:
    return samples * np.float32(amplitude(-decibels))


def close_and_dry(samples: FloatArray) -> FloatArray:
    """A microphone held close: its low cut at 200 Hz, then 4:1 above 20 dB below the peak."""
    return compressed(low_cut(samples, 200.0), below_peak_db=20.0, ratio=4.0)


def encoded(samples: FloatArray) -> FloatArray:
    """Opus at 16 kb/s, there and back."""
    # libsndfile's scale: 0 is 256 kb/s a channel, 1 is 6 kb/s.
    level = (256_000 - OPUS_BITS_PER_S) / (256_000 - 6_000)
    file = io.BytesIO()
    soundfile.write(
        file, samples, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=level
    )
    file.seek(0)
    return fitted(soundfile.read(file, dtype="float32")[0], len(samples))


def room(rng: Generator, rt60_s: float, direct_db: float) -> FloatArray:
    """(n,) a synthetic impulse response of energy 1, whose first sample is the direct sound.

    Eight early reflections come within 50 ms of it, then noise; both die away by 60 dB in `rt60_s`
    (J. A. Moorer, About This Reverberation Business, Computer Music Journal 3(2), 1979). The direct
    sound has `direct_db` more energy than the rest: 0 at the critical distance, one to two metres
    off in such a room.
    """
    time_s = np.arange(1, round(1.2 * rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    decay = 10 ** (-3 * time_s / rt60_s)
    tail = rng.standard_normal(len(time_s)) * np.minimum(1, time_s / 0.05)  # it becomes dense
    early = rng.integers(round(0.002 * SAMPLE_RATE), round(0.05 * SAMPLE_RATE), 8)
    tail[early] += rng.choice((-5.0, 5.0), 8)
    tail *= decay
    tail *= amplitude(-direct_db) / np.sqrt(np.square(tail).sum())
    response = np.concatenate(([1.0], tail))
    response /= np.sqrt(np.square(response).sum())
    return response.astype(np.float32)


def low_cut(samples: FloatArray, hertz: float) -> FloatArray:
    """A Butterworth high-pass of second order, 3 dB down at `hertz`."""
    length = len(samples) + SAMPLE_RATE  # it has died away long before a second
    angles = 2 * np.pi * np.fft.rfftfreq(length)
    # The bilinear transform of s² / (s² + √2 s + 1), bent so that `hertz` stays where it is.
    s = 1j * np.tan(angles / 2) / np.tan(np.pi * hertz / SAMPLE_RATE)
    response = s**2 / (s**2 + np.sqrt(2) * s + 1)
    return fitted(np.fft.irfft(np.fft.rfft(samples, length) * response, length), len(samples))


def compressed(samples: FloatArray, below_peak_db: float, ratio: float) -> FloatArray:
    """As loud as before on the whole, but what exceeds a level does so by `ratio` times less.

    Levels are peaks of 1 ms; the gain falls within 5 ms and recovers within 100 ms.
    """
    step = SAMPLE_RATE // 1000
    padded = np.pad(np.abs(samples), (0, -len(samples) % step))
    peaks = 20 * np.log10(np.maximum(padded.reshape(-1, step).max(axis=1), 1e-6))
    over = np.maximum(0, peaks - (peaks.max() - below_peak_db)) * (1 - 1 / ratio)
    cut, reduction = 0.0, np.empty(len(over))
    for i, wanted in enumerate(over.tolist()):
        cut += (wanted - cut) * (1 - np.exp(-1 / (5 if wanted > cut else 100)))
        reduction[i] = cut
    gain = 10 ** (-np.interp(np.arange(len(samples)) / step, np.arange(len(over)), reduction) / 20)
    quiet = samples * gain
    power = float(np.square(quiet).sum())
    makeup = np.sqrt(np.square(samples, dtype=np.float64).sum() / power) if power else 1.0
    return (quiet * makeup).astype(np.float32)


def amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def loudness(samples: FloatArray) -> float:
    """Mean square of the blocks of 10 ms within 30 dB of the loudest: the sound without pauses."""
    blocks = np.square(samples[: len(samples) // BLOCK * BLOCK], dtype=np.float64)
    powers = blocks.reshape(-1, BLOCK).mean(axis=1)
    return float(powers[powers >= powers.max() * 1e-3].mean())


def convolved(samples: FloatArray, response: FloatArray) -> FloatArray:
    length = len(samples) + len(response)
    product = np.fft.rfft(samples, length) * np.fft.rfft(response, length)
    return fitted(np.fft.irfft(product, length), len(samples))


def fitted(samples: NDArray[np.floating], length: int) -> FloatArray:
    """Cut or padded with silence to `length`."""
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)
