"""Triangular filters on the mel scale, as each kind of front end lays them out."""

import numpy as np
from numpy.typing import NDArray

from detector.spec import Fbank, LogMelSpec

Float64Array = NDArray[np.float64]


def mel_filters(spec: Fbank | LogMelSpec, sample_rate: int) -> Float64Array:
    """The weight of each line of the spectrum in each mel bin.

    Those of the kind `fbank` are Kaldi's (feat/mel-computations.cc). Those of the kind `log_mel`
    with slopes straight in hertz are librosa's (filters.mel) and torchaudio's (melscale_fbanks),
    those with slopes straight in mel TensorFlow's (linear_to_mel_weight_matrix).

    Returns:
        (fft_size // 2 + 1, mel_bins). A bin narrower than the spacing of the lines may hold none;
        its energy is zero.
    """
    lines_hz = np.arange(spec.fft_size // 2 + 1) * sample_rate / spec.fft_size
    if isinstance(spec, Fbank):
        weights = _triangles(_htk(lines_hz), _edges(spec, htk=True))
        weights[-1] = 0.0  # Kaldi leaves out the line at half the sample rate
        return weights
    htk = spec.mel_scale == "htk"
    edges = _edges(spec, htk=htk)
    edges_hz = _htk_to_hz(edges) if htk else _slaney_to_hz(edges)
    if spec.slopes == "hz":
        weights = _triangles(lines_hz, edges_hz)
    else:
        weights = _triangles(_htk(lines_hz) if htk else _slaney(lines_hz), edges)
    if spec.area_normalised:
        weights *= 2 / (edges_hz[2:] - edges_hz[:-2])
    return weights


def _edges(spec: Fbank | LogMelSpec, *, htk: bool) -> Float64Array:
    """(mel_bins + 2,): where, on the mel scale, each triangle begins, peaks and ends."""
    ends = np.array([spec.low_hz, spec.high_hz])
    low, high = _htk(ends) if htk else _slaney(ends)
    return np.linspace(low, high, spec.mel_bins + 2)


def _triangles(lines: Float64Array, edges: Float64Array) -> Float64Array:
    """(lines, bins): triangles with straight sides on whichever scale both are given."""
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (lines[:, None] - left) / (centre - left)
    falling = (right - lines[:, None]) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def _htk(hz: Float64Array) -> Float64Array:
    """2595 log10(1 + f/700), as in the HTK Book, section 5.4, in the rounding of Kaldi."""
    return 1127.0 * np.log1p(hz / 700.0)


def _htk_to_hz(mel: Float64Array) -> Float64Array:
    return 700.0 * np.expm1(mel / 1127.0)


_KNEE_HZ, _KNEE_MEL, _MELS_PER_HZ = 1000.0, 15.0, 3 / 200
_LOG_STEP = np.log(6.4) / 27
"""Above the knee 27 mels take the frequency 6.4 times as high."""


def _slaney(hz: Float64Array) -> Float64Array:
    """Linear up to 1 kHz, logarithmic above: Slaney's Auditory Toolbox, 1998, `mfcc.m`."""
    above = np.maximum(hz, _KNEE_HZ)
    curved = _KNEE_MEL + np.log(above / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz * _MELS_PER_HZ, curved)


def _slaney_to_hz(mel: Float64Array) -> Float64Array:
    above = np.maximum(mel, _KNEE_MEL)
    curved = _KNEE_HZ * np.exp((above - _KNEE_MEL) * _LOG_STEP)
    return np.where(mel < _KNEE_MEL, mel / _MELS_PER_HZ, curved)
