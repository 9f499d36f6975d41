"""YAMNet's front end over whole recordings, as training needs it."""

import numpy as np
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, FloatArray

FRAME, SHIFT, FFT, BINS = 400, 160, 512, 64
LOW_HZ, HIGH_HZ = 125.0, 7500.0
OFFSET = 1e-3
SILENCE = float(np.log(np.float32(OFFSET)))
"""What a frame of digital silence, and padding, is."""


def mel_matrix() -> FloatArray:
    """(FFT / 2 + 1, BINS): triangles on the mel scale of HTK; nothing of the lowest bin."""

    def mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))

    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BINS + 2)
    at = mel(np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1))[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (at - lower) / (centre - lower), (upper - at) / (upper - centre)
    matrix = np.maximum(0, np.minimum(rising, falling))
    matrix[0] = 0
    return np.asarray(matrix, np.float32)


_MATRIX = mel_matrix()
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)


def magnitude_mel(samples: FloatArray) -> FloatArray:
    """(t, BINS) float32 of the whole frames in (n,) samples."""
    if len(samples) < FRAME:
        samples = np.pad(samples, (0, FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::SHIFT]
    spectrum = np.abs(np.fft.rfft(frames * _WINDOW, FFT)).astype(np.float32)
    return np.asarray(spectrum @ _MATRIX, np.float32)


def log_mel(samples: FloatArray) -> FloatArray:
    """(t, BINS): what YAMNet is given."""
    return np.asarray(np.log(magnitude_mel(samples) + np.float32(OFFSET)), np.float32)
