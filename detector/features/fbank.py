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

    pre_emphasis: float
    removes_mean: bool
    magnitude: bool
    """Whether the filters add up magnitudes; else powers."""
    offset: np.float32
    floor: np.float32
    """The energy x becomes ln(max(x + offset, floor)) * scale + shift."""
    scale: np.float32
    shift: np.float32


def taper(spec: Fbank | LogMelSpec) -> NDArray[np.float64]:
    """(frame_samples,): the analysis window. Kaldi's is torch.hann_window(periodic=False)."""
    if isinstance(spec, Fbank):
        return np.hanning(spec.frame_samples)
    size = spec.frame_samples + spec.periodic
    whole = np.hanning(size) if spec.taper == "hann" else np.hamming(size)
    return whole[: spec.frame_samples]


def _steps(spec: Fbank | LogMelSpec) -> _Steps:
    if isinstance(spec, Fbank):
        return _Steps(
            pre_emphasis=spec.pre_emphasis,
            removes_mean=True,
            magnitude=False,
            offset=np.float32(0),
            floor=np.float32(spec.log_floor),
            scale=np.float32(1 / (2 * spec.std)),
            shift=np.float32(spec.padding),
        )
    return _Steps(
        pre_emphasis=0.0,
        removes_mean=False,
        magnitude=spec.spectrum == "magnitude",
        offset=np.float32(spec.log_offset),
        floor=np.float32(spec.log_floor),
        scale=np.float32(spec.log_scale / spec.std),
        shift=np.float32(-spec.mean / spec.std),
    )


class Workspace:
    """Scratch memory of `BLOCK` frames, which streams that are computed in turn can share."""

    BLOCK: Final = 34
    """Frames computed together: a third of a second's, to spread the cost of a NumPy call; few
    enough to stay in the processor's nearer caches."""

    def __init__(self, spec: Fbank | LogMelSpec) -> None:
        lines = spec.fft_size // 2 + 1
        self.padded = np.zeros((self.BLOCK, spec.fft_size))
        self.spectrum = np.empty((self.BLOCK, lines), np.complex128)
        self.parts = self.spectrum.view(np.float64)  # real, imaginary, real, ...
        self.centred = self.parts[:, : spec.frame_samples]  # done with before there is a spectrum
        self.power = np.empty((self.BLOCK, 1, lines), np.float32)
        self.energy = np.empty((self.BLOCK, 1, spec.mel_bins), np.float32)


class LogMel:
    """Incremental log-mel of one stream.

    Push samples in blocks of any size; each call returns the frames that became complete.
    Frame k covers the samples `k * shift` up to `k * shift + frame_samples` since the last reset.
    """

    def __init__(
        self, settings: Fbank | LogMelSpec, sample_rate: int, workspace: Workspace | None = None
    ) -> None:
        """Set up.

        Args:
            settings: the front end's numbers.
            sample_rate: Hertz.
            workspace: of the same settings, if it is shared; never by two threads.
        """
        self.settings = settings
        self._workspace = workspace or Workspace(settings)
        self._steps = _steps(settings)
        self._tapers = _tapers(settings, Workspace.BLOCK)
        self._bands = _bands(settings, sample_rate)
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
            for i in range(0, count, Workspace.BLOCK):
                block = slice(i, i + Workspace.BLOCK)
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
        """Write the log-mel of n <= Workspace.BLOCK frames.

        Args:
            frames: (n, frame_samples), as heard.
            emphasised: (n, frame_samples), with pre-emphasis but not without their mean.
            out: (n, mel_bins).
        """
        s, steps, work = self.settings, self._steps, self._workspace
        n = len(frames)
        padded = work.padded[:n]
        spectrum, parts = work.spectrum[:n], work.parts[:n]
        power, energy = work.power[:n], work.energy[:n]

        # Up to the power in double precision: a quiet band beside a loud one would drown in the
        # rounding of single precision. From there on everything is positive, and single will do.
        if steps.removes_mean:
            mean = np.add.reduce(frames, axis=1, dtype=np.float64, keepdims=True)
            mean *= (1 - steps.pre_emphasis) / s.frame_samples  # what is left of a constant
            emphasised = np.subtract(emphasised, mean, out=work.centred[:n])
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
    return np.tile(taper(spec), (frames, 1))


def _overlapping(samples: NDArray[Any], count: int, spec: Fbank | LogMelSpec) -> NDArray[Any]:
    """A view of the first `count` frames; sliding_window_view takes longer than the sums."""
    step = samples.itemsize
    return np.ndarray(
        (count, spec.frame_samples),
        samples.dtype,
        samples,
        strides=(spec.shift_samples * step, step),
    )


_BAND: Final = 32
"""Mel bins computed together. A band's filters touch only neighbouring lines of the spectrum, so a
band is a small dense product."""


@cache
def _bands(spec: Fbank | LogMelSpec, sample_rate: int) -> list[tuple[int, FloatArray, slice]]:
    """The filters in bands: (first line, weights of the lines it needs, its mel bins)."""
    weights = mel_filters(spec, sample_rate).astype(np.float32)
    bands = []
    for start in range(0, weights.shape[1], _BAND):
        columns = slice(start, start + _BAND)
        lines = np.flatnonzero(weights[:, columns].any(axis=1))
        first, stop = (lines[0], lines[-1] + 1) if len(lines) else (0, 1)
        bands.append((int(first), np.ascontiguousarray(weights[first:stop, columns]), columns))
    return bands
