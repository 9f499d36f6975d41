"""Log-mel filterbank energies, computed once for each new frame as the samples arrive.

The numbers agree with Hugging Face's `ASTFeatureExtractor` and with
`torchaudio.compliance.kaldi.fbank` (htk_compat, hanning window, no dither): 25 ms frames every
10 ms, DC offset removed and pre-emphasis applied within each frame, power spectrum over 512
points, triangular filters on Kaldi's mel scale, natural logarithm.

Every step treats each frame by itself and with operations whose rounding cannot depend on how
many frames are computed together, so the result is bitwise the same however the audio is cut.
"""

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray
from detector.spec import Fbank


def mel_filters(settings: Fbank, sample_rate: int) -> NDArray[np.float64]:
    """Triangles on the mel scale 1127 ln(1 + f/700), as in Kaldi's feat/mel-computations.cc.

    Returns:
        (fft_size // 2 + 1, mel_bins): the weight of each line of the spectrum in each mel bin.
        A bin narrower than the spacing of the lines may hold none; its energy is zero.
    """

    def mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)

    lines = mel(np.arange(settings.fft_size // 2 + 1) * sample_rate / settings.fft_size)
    edges = np.linspace(mel(settings.low_hz), mel(settings.high_hz), settings.mel_bins + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (lines[:, None] - left) / (centre - left)
    falling = (right - lines[:, None]) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[-1] = 0.0  # Kaldi leaves out the line at half the sample rate
    return weights


class LogMel:
    """Incremental log-mel of one stream.

    Push samples in blocks of any size; each call returns the frames that became complete.
    Frame k covers the samples `k * shift` up to `k * shift + frame_samples` since the last reset.
    """

    _BLOCK: Final = 34
    """Frames computed together: a third of a second's, to spread the cost of a NumPy call; few
    enough to stay in the processor's nearer caches and to keep the scratch memory of a stream
    small."""

    _BAND: Final = 32
    """Mel bins computed together. A band's filters touch only neighbouring lines of the spectrum,
    so a band is a small dense product."""

    def __init__(self, settings: Fbank, sample_rate: int) -> None:
        self.settings = settings
        s = settings
        self._taper = _taper(s.frame_samples, self._BLOCK)
        self._bands = list(_banded(mel_filters(s, sample_rate).astype(np.float32), self._BAND))
        self._padded = np.zeros((self._BLOCK, s.fft_size))
        self._spectrum = np.empty((self._BLOCK, s.fft_size // 2 + 1), np.complex128)
        self._parts = self._spectrum.view(np.float64)  # real, imaginary, real, ...
        self._centred = self._parts[:, : s.frame_samples]  # done with before there is a spectrum
        self._power = np.empty((self._BLOCK, 1, s.fft_size // 2 + 1), np.float32)
        self._energy = np.empty((self._BLOCK, 1, s.mel_bins), np.float32)
        self._scale, self._shift = np.float32(1 / (2 * s.std)), np.float32(s.padding)
        self._tail = np.empty(0, np.float32)

    def reset(self) -> None:
        """Forget the samples of an unfinished frame: what follows is another beginning."""
        self._tail = np.empty(0, np.float32)

    def push(self, samples: FloatArray) -> FloatArray:
        """Take more samples.

        Args:
            samples: (n,) float32, n >= 0.

        Returns:
            (t, mel_bins) float32: the normalised log-mel frames that are now complete.
        """
        s = self.settings
        heard = np.concatenate((self._tail, samples)) if len(self._tail) else samples
        count = s.frames_in(len(heard))
        self._tail = heard[count * s.shift_samples :].copy()
        out = np.empty((count, s.mel_bins), np.float32)
        if count:
            # A frame's first sample has no predecessor, and needs none: its taper is 0.
            emphasised = np.zeros(len(heard))
            np.multiply(heard[:-1], -s.pre_emphasis, out=emphasised[1:])
            emphasised += heard
            frames = _overlapping(np.ascontiguousarray(heard), count, s)
            emphasised_frames = _overlapping(emphasised, count, s)
            for i in range(0, count, self._BLOCK):
                block = slice(i, i + self._BLOCK)
                self._compute(frames[block], emphasised_frames[block], out[block])
        return out

    def _compute(
        self, frames: FloatArray, emphasised: NDArray[np.float64], out: FloatArray
    ) -> None:
        """Write the log-mel of n <= _BLOCK frames.

        Args:
            frames: (n, frame_samples), as heard.
            emphasised: (n, frame_samples), with pre-emphasis but not without their mean.
            out: (n, mel_bins).
        """
        s = self.settings
        n = len(frames)
        centred, padded = self._centred[:n], self._padded[:n]
        spectrum, parts = self._spectrum[:n], self._parts[:n]
        power, energy = self._power[:n], self._energy[:n]

        # Up to the power in double precision: a quiet band beside a loud one would drown in the
        # rounding of single precision. From there on everything is positive, and single will do.
        mean = np.add.reduce(frames, axis=1, dtype=np.float64, keepdims=True)
        mean *= (1 - s.pre_emphasis) / s.frame_samples  # what pre-emphasis leaves of a constant
        np.subtract(emphasised, mean, out=centred)
        np.multiply(centred, self._taper[:n], out=padded[:, : s.frame_samples])
        np.fft.rfft(padded, out=spectrum)
        np.square(parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=power[:, 0], casting="same_kind")

        # A stacked product is one vector-matrix product a frame, always of the same shape.
        for first, rows, columns in self._bands:
            stop = first + len(rows)
            np.matmul(power[:, :, first:stop], rows, out=energy[:, :, columns])
        np.maximum(energy, s.log_floor, out=energy)
        np.log(energy, out=energy)
        energy *= self._scale
        np.add(energy[:, 0], self._shift, out=out)


@cache
def _taper(frame_samples: int, frames: int) -> NDArray[np.float64]:
    """(frames, frame_samples): the window of each frame, one for all streams.

    A symmetric Hann window, as torch.hann_window(periodic=False). Repeated, since it is multiplied
    faster so.
    """
    return np.tile(np.hanning(frame_samples), (frames, 1))


def _overlapping(samples: NDArray[Any], count: int, fbank: Fbank) -> NDArray[Any]:
    """A view of the first `count` frames; sliding_window_view takes longer than the sums."""
    step = samples.itemsize
    return np.ndarray(
        (count, fbank.frame_samples),
        samples.dtype,
        samples,
        strides=(fbank.shift_samples * step, step),
    )


def _banded(weights: FloatArray, width: int) -> list[tuple[int, FloatArray, slice]]:
    """Cut the filters into bands: (first line, weights of the lines it needs, its mel bins)."""
    bands = []
    for start in range(0, weights.shape[1], width):
        columns = slice(start, start + width)
        lines = np.flatnonzero(weights[:, columns].any(axis=1))
        first, stop = (lines[0], lines[-1] + 1) if len(lines) else (0, 1)
        bands.append((int(first), np.ascontiguousarray(weights[first:stop, columns]), columns))
    return bands
