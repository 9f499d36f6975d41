"""`ParakeetFeatureExtractor`: NeMo's log-mel frames, each bin normalised over the window."""

from typing import Any

import numpy as np
import torch
from torch import nn

from detector.records import FloatArray
from export.features.base import Features
from export.features.mel import MelEnergies, end_of_sound, fourier, moments

_GUARD = 2.0**-24
_EPSILON = 1e-5


class ParakeetFeatures(Features):
    """The detector delivers samples; the graph computes and normalises the frames."""

    extractors = ("ParakeetFeatureExtractor",)

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__(extractor)
        self.step = int(extractor.hop_length)
        half = extractor.win_length // 2
        self.frame = (-half, half, self.step)

    def prelude(self) -> nn.Module:
        return _LogMel(self._extractor)

    def reference(self, sounds: FloatArray) -> torch.Tensor:
        return self._extract(sounds, "input_features")[
            :, :-1
        ]  # the last frame lies beyond the sound, and is masked


class _LogMel(nn.Module):
    """(batch, samples) to (batch, samples / hop, mel_bins).

    The zeros at a window's end are padding, which takes no part in the statistics and reads zero,
    as in the extractor.
    """

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.coefficient = float(extractor.preemphasis or 0)
        self.hop = int(extractor.hop_length)
        self.margin = extractor.win_length // 2
        analysis = fourier(np.hanning(extractor.win_length), extractor.n_fft)
        self.energies = MelEnergies(extractor.mel_filters.T.numpy(), analysis, self.hop)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        end = end_of_sound(samples, 2 * self.hop)
        before = nn.functional.pad(samples, (1, -1))
        in_sound = torch.arange(samples.shape[1]) < end
        sharp = (samples - self.coefficient * before) * in_sound
        padded = nn.functional.pad(sharp, (self.margin, self.margin))
        energies: torch.Tensor = self.energies(padded)[:, : samples.shape[1] // self.hop]
        levels = (energies + _GUARD).log()
        frames = torch.arange(1, levels.shape[1] + 1)
        heard = (frames * self.hop <= end).unsqueeze(2).float()
        mean, variance = moments(levels, heard)
        return (levels - mean) * heard / (variance.sqrt() + _EPSILON)
