"""Log-mel energies, computed once for each new frame as the samples arrive.

The numbers of the kind `fbank` agree with Hugging Face's `ASTFeatureExtractor` and with
`torchaudio.compliance.kaldi.fbank` (htk_compat, hanning window, no dither): 25 ms frames every
10 ms, DC offset removed and pre-emphasis applied within each frame, power spectrum over 512
points, triangular filters on Kaldi's mel scale, natural logarithm. Those of the kind `log_mel`
agree with librosa's and TensorFlow's, without padding at the ends: a taper, the magnitude or the
power of the spectrum, triangular filters, a logarithm with an offset or a floor.

Every step treats each frame by itself and with operations whose rounding cannot depend on how
many frames are computed together, so the result is bitwise the same however the audio is cut.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.features.mel_filters import mel_filters
from detector.records import FloatArray
from detector.spec import Fbank, LogMelSpec


@dataclass(frozen=True, slots=True)
class _Steps:
    """In what the kinds differ."""

    taper: NDArray[np.float64]
    """(frame_samples,): the analysis window."""
    pre_emphasis: float
    removes_mean: bool
    magnitude: bool
    """Whether the filters add up magnitudes; else powers."""
    offset: np.float32
    floor: np.float32
    """The energy x becomes ln(max(x + offset, floor)) * scale + shift."""
    scale: np.float32
    shift: np.float32


def _steps(spec: Fbank | LogMelSpec) -> _Steps:
    if isinstance(spec, Fbank):
        return _Steps(
            taper=np.hanning(spec.frame_samples),  # as torch.hann_window(periodic=False)
            pre_emphasis=spec.pre_emphasis,
            removes_mean=True,
            magnitude=False,
            offset=np.float32(0),
            floor=np.float32(spec.log_floor),
            scale=np.float32(1 / (2 * spec.std)),
            shift=np.float32(spec.padding),
        )
    size = spec.frame_samples + spec.periodic
    taper = np.hanning(size) if spec.taper == "hann" else np.hamming(size)
    return _Steps(
        taper=taper[: spec.frame_samples],
        pre_emphasis=0.0,
        removes_mean=False,
        magnitude=spec.spectrum == "magnitude",
        offset=np.float32(spec.log_offset),
        floor=np.float32(spec.log_floor),
        scale=np.float32(spec.log_scale / spec.std),
        shift=np.float32(-spec.mean / spec.std),
    )


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

    def __init__(self, settings: Fbank | LogMelSpec, sample_rate: int) -> None:
        self.settings = settings
        s = settings
        self._steps = _steps(s)
        self._tapers = _tapers(s, self._BLOCK)
        self._bands = list(_banded(mel_filters(s, sample_rate).astype(np.float32), self._BAND))
        self._padded = np.zeros((self._BLOCK, s.fft_size))
        self._spectrum = np.empty((self._BLOCK, s.fft_size // 2 + 1), np.complex128)
        self._parts = self._spectrum.view(np.float64)  # real, imaginary, real, ...
        self._centred = self._parts[:, : s.frame_samples]  # done with before there is a spectrum
        self._power = np.empty((self._BLOCK, 1, s.fft_size // 2 + 1), np.float32)
        self._energy = np.empty((self._BLOCK, 1, s.mel_bins), np.float32)
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
            heard = np.ascontiguousarray(heard)
            emphasised = self._emphasised(heard)
            frames = _overlapping(heard, count, s)
            emphasised_frames = _overlapping(emphasised, count, s)
            for i in range(0, count, self._BLOCK):
                block = slice(i, i + self._BLOCK)
                self._compute(frames[block], emphasised_frames[block], out[block])
        return out

    def _emphasised(self, heard: FloatArray) -> NDArray[Any]:
        """Each sample less a part of the one before it."""
        if not self._steps.pre_emphasis:
            return heard
        # A frame's first sample has no predecessor, and needs none: its taper is 0.
        emphasised = np.zeros(len(heard))
        np.multiply(heard[:-1], -self._steps.pre_emphasis, out=emphasised[1:])
        emphasised += heard
        return emphasised

    def _compute(self, frames: FloatArray, emphasised: NDArray[Any], out: FloatArray) -> None:
        """Write the log-mel of n <= _BLOCK frames.

        Args:
            frames: (n, frame_samples), as heard.
            emphasised: (n, frame_samples), with pre-emphasis but not without their mean.
            out: (n, mel_bins).
        """
        s, steps = self.settings, self._steps
        n = len(frames)
        padded = self._padded[:n]
        spectrum, parts = self._spectrum[:n], self._parts[:n]
        power, energy = self._power[:n], self._energy[:n]

        # Up to the power in double precision: a quiet band beside a loud one would drown in the
        # rounding of single precision. From there on everything is positive, and single will do.
        if steps.removes_mean:
            mean = np.add.reduce(frames, axis=1, dtype=np.float64, keepdims=True)
            mean *= (1 - steps.pre_emphasis) / s.frame_samples  # what is left of a constant
            emphasised = np.subtract(emphasised, mean, out=self._centred[:n])
        np.multiply(emphasised, self._tapers[:n], out=padded[:, : s.frame_samples])
        np.fft.rfft(padded, out=spectrum)
        np.square(parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=power[:, 0], casting="same_kind")
        if steps.magnitude:
            np.sqrt(power, out=power)

        # A stacked product is one vector-matrix product a frame, always of the same shape.
        for first, rows, columns in self._bands:
            stop = first + len(rows)
            np.matmul(power[:, :, first:stop], rows, out=energy[:, :, columns])
        if steps.offset:
            energy += steps.offset
        np.maximum(energy, steps.floor, out=energy)
        np.log(energy, out=energy)
        energy *= steps.scale
        np.add(energy[:, 0], steps.shift, out=out)


@cache
def _tapers(spec: Fbank | LogMelSpec, frames: int) -> NDArray[np.float64]:
    """(frames, frame_samples): the taper of each frame, one array for all streams.

    Repeated, since it is multiplied faster so.
    """
    return np.tile(_steps(spec).taper, (frames, 1))


def _overlapping(samples: NDArray[Any], count: int, spec: Fbank | LogMelSpec) -> NDArray[Any]:
    """A view of the first `count` frames; sliding_window_view takes longer than the sums."""
    step = samples.itemsize
    return np.ndarray(
        (count, spec.frame_samples),
        samples.dtype,
        samples,
        strides=(spec.shift_samples * step, step),
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
