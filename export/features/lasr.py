"""`LasrFeatureExtractor`: log-mel frames with a floor and no normalisation."""

from typing import Any

import numpy as np
import torch
from torch import nn

from detector.records import FloatArray
from export.features.base import Features
from export.features.mel import MelEnergies, fourier


class LasrFeatures(Features):
    """The detector delivers samples; the graph computes the spectrogram.

    The bundle's own log-mel frames are Kaldi's; these have no pre-emphasis and other mel bands.
    """

    extractors = ("LasrFeatureExtractor",)

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__(extractor)
        self.step = int(extractor.hop_length)
        self.frame = (0, int(extractor.win_length), self.step)

    def prelude(self) -> nn.Module:
        return _LogMel(self._extractor)

    def reference(self, sounds: FloatArray) -> torch.Tensor:
        return self._extract(sounds, "input_features")


class _LogMel(nn.Module):
    """(batch, samples) to (batch, frames, mel_bins)."""

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__()
        analysis = fourier(np.hanning(extractor.win_length), extractor.n_fft)
        mel = extractor.mel_filters.numpy()
        self.energies = MelEnergies(mel, analysis, extractor.hop_length)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        energies: torch.Tensor = self.energies(samples)
        return energies.clamp(min=1e-5).log()
