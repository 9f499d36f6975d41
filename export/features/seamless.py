"""`SeamlessM4TFeatureExtractor`: Kaldi log-mel frames, each bin normalised over the window."""

from typing import Any

import torch
from torch import nn

from detector.records import FloatArray
from export.features.base import Features
from export.features.mel import (
    MelEnergies,
    end_of_sound,
    fourier,
    moments,
    pre_emphasis,
    without_mean,
)

_FRAME, _SHIFT, _FFT = 400, 160, 512
_STACKED = 2
"""Frames that become one input of the network."""
_FULL_SCALE = 2.0**15
"""Kaldi's samples are 16-bit integers."""


class SeamlessFeatures(Features):
    """The detector delivers samples; the graph computes, normalises and stacks the frames."""

    step = _SHIFT * _STACKED
    frame = (0, _FRAME, _SHIFT)
    extractors = ("SeamlessM4TFeatureExtractor",)
    required = {"stride": _STACKED}  # noqa: RUF012 (the base says that it is the class's)

    def prelude(self) -> nn.Module:
        return _LogMel(self._extractor)

    def reference(self, sounds: FloatArray) -> torch.Tensor:
        return self._extract(sounds, "input_features")


class _LogMel(nn.Module):
    """(batch, samples) to (batch, frames / 2, mel_bins * 2).

    The zeros at a window's end are padding, which takes no part in the statistics and reads zero,
    as in the extractor.
    """

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__()
        analysis = fourier(extractor.window, _FFT) @ pre_emphasis(_FRAME, 0.97)
        analysis = (_FULL_SCALE * analysis) @ without_mean(_FRAME)
        self.energies = MelEnergies(extractor.mel_filters, analysis, _SHIFT)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        levels: torch.Tensor = self.energies(samples).clamp(min=1.192092955078125e-07).log()
        ends = torch.arange(levels.shape[1]) * _SHIFT + _FRAME
        in_sound = (ends <= end_of_sound(samples, 2 * _FRAME)).unsqueeze(2).float()
        mean, variance = moments(levels, in_sound)
        frames = (levels - mean) * in_sound / (variance + 1e-7).sqrt()
        whole = frames.shape[1] // _STACKED
        return frames[:, : whole * _STACKED].reshape(-1, whole, _STACKED * levels.shape[2])
