"""Log-mel energies inside a graph, for extractors whose numbers depend on the whole window."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Float64Array = NDArray[np.float64]


class MelEnergies(nn.Module):
    """(batch, samples) to (batch, frames, mel_bins) float32: energy in each band of each frame.

    All that is linear in a frame (removing its mean, pre-emphasis, the taper, the Fourier
    transform) is one matrix, so the graph holds slices and two products, which every runtime has.
    They are in double precision: beside a loud tone a quiet band has less than a millionth of the
    frame's energy, and the logarithm that follows would show the rounding, all the more where an
    accelerator multiplies in TF32 or the network was cut to half precision.
    """

    def __init__(self, mel: Float64Array, analysis: Float64Array, shift: int) -> None:
        """Take the matrices.

        Args:
            mel: (frequencies, mel_bins).
            analysis: (2 * frequencies, frame_samples): real parts, then imaginary parts.
            shift: samples from a frame to the next.
        """
        super().__init__()
        self.size, self.shift = analysis.shape[1], shift
        self.analysis = nn.Buffer(torch.from_numpy(np.ascontiguousarray(analysis.T)).double())
        self.mel = nn.Buffer(torch.from_numpy(np.asarray(mel)).double())

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        parts = self._frames(samples.double()) @ self.analysis
        real, imaginary = parts.chunk(2, dim=-1)
        return ((real * real + imaginary * imaginary) @ self.mel).float()

    def _frames(self, samples: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, frames, size), by blocks that both lengths are made of."""
        block = math.gcd(self.size, self.shift)
        step, each = self.shift // block, self.size // block
        whole = samples.shape[1] // block
        last = (whole - each) // step * step
        blocks = samples[:, : whole * block].reshape(-1, whole, block)
        return torch.cat([blocks[:, i : i + last + 1 : step] for i in range(each)], dim=-1)


def fourier(taper: Float64Array, fft_size: int) -> Float64Array:
    """The matrix that tapers a frame and takes its discrete Fourier transform.

    Args:
        taper: (frame_samples,).
        fft_size: at least frame_samples. Where in it the frame lies moves phases alone, which no
            energy shows.

    Returns:
        (fft_size + 2, frame_samples): real parts of the frequencies 0..fft_size / 2, then
        imaginary ones.
    """
    frequency = np.arange(fft_size // 2 + 1)[:, None]
    # Whole turns are taken off while they are whole numbers, so the angles are exact.
    turns = frequency * np.arange(len(taper)) % fft_size / fft_size
    return np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)]) * taper


def without_mean(frame_samples: int) -> Float64Array:
    """The matrix that removes a frame's mean."""
    return np.eye(frame_samples) - 1 / frame_samples


def pre_emphasis(frame_samples: int, coefficient: float) -> Float64Array:
    """The matrix of Kaldi's pre-emphasis: each sample less a part of the one before it.

    The first sample of a frame is its own predecessor.
    """
    matrix = np.eye(frame_samples) - coefficient * np.eye(frame_samples, k=-1)
    matrix[0, 0] -= coefficient
    return matrix


def end_of_sound(samples: torch.Tensor, fewest: int) -> torch.Tensor:
    """(batch, samples) to (batch, 1): how many samples come before the zeros at the end.

    Those zeros are what the detector pads a short window with. A window with fewer samples of sound
    than `fewest` is taken for one of silence: it has no padding.
    """
    place = torch.arange(1, samples.shape[1] + 1)
    end = ((samples != 0) * place).amax(dim=1, keepdim=True)
    return torch.where(end < fewest, samples.shape[1], end)


def moments(levels: torch.Tensor, in_sound: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and (unbiased) variance of each band over the frames that were heard.

    Args:
        levels: (batch, frames, mel_bins).
        in_sound: (batch, frames, 1), 1 or 0.

    Returns:
        Two of (batch, 1, mel_bins).
    """
    count = in_sound.sum(dim=1, keepdim=True)
    mean = (levels * in_sound).sum(dim=1, keepdim=True) / count
    variance = ((levels - mean).square() * in_sound).sum(dim=1, keepdim=True) / (count - 1)
    return mean, variance
