"""`WhisperFeatureExtractor`: log-mel frames relative to the loudest of the window."""

from typing import Any

import numpy as np
import torch
from torch import nn

from detector.records import FloatArray
from export.features.base import Features
from export.features.mel import MelEnergies, fourier


class WhisperFeatures(Features):
    """The detector delivers samples; the graph computes the spectrogram."""

    extractors = ("WhisperFeatureExtractor",)
    required = {"dither": 0.0}  # noqa: RUF012 (the base says that it is the class's)

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        # Its setting do_normalize has no effect: only an argument of each call normalises.
        super().__init__(extractor)
        self.step = int(extractor.hop_length)
        margin = extractor.n_fft // 2
        self.frame = (-margin, margin, self.step)

    def prelude(self) -> nn.Module:
        return _LogMel(self._extractor)

    def reference(self, sounds: FloatArray) -> torch.Tensor:
        return self._extract(sounds, "input_features", max_length=sounds.shape[1])


class _LogMel(nn.Module):
    """(batch, samples) to (batch, mel_bins, samples / hop)."""

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__()
        size = extractor.n_fft
        self.margin = size // 2
        # A periodic Hann window is a symmetric one of one sample more, less its last.
        analysis = fourier(np.hanning(size + 1)[:-1], size)
        self.energies = MelEnergies(extractor.mel_filters, analysis, extractor.hop_length)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(samples, (self.margin, self.margin), mode="reflect")
        energies = self.energies(padded)[:, :-1].transpose(1, 2)
        levels = energies.clamp(min=1e-10).log10()
        floor = levels.amax(dim=(1, 2), keepdim=True) - 8
        return (torch.maximum(levels, floor) + 4) / 4
