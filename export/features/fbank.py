"""`ASTFeatureExtractor`: log-mel frames, each for itself, so the detector computes them all."""

from typing import Any

import torch

from detector.records import FloatArray
from detector.spec import Fbank
from export.features.base import Features


class FbankFeatures(Features):
    """The whole extractor is the bundle's front end."""

    extractors = ("ASTFeatureExtractor",)
    step = Fbank().shift_samples
    frame = (0, Fbank().frame_samples, Fbank().shift_samples)

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__(extractor)
        # (v - 0) / (2 * 0.5) is v: the bundle's way to say that nothing is normalised.
        mean, std = (extractor.mean, extractor.std) if extractor.do_normalize else (0.0, 0.5)
        self.frontend = Fbank(mel_bins=extractor.num_mel_bins, mean=mean, std=std)
        self._bins = extractor.num_mel_bins

    def shape(self, samples: int) -> tuple[int, ...]:
        return (samples // self.step, self._bins)

    def reference(self, sounds: FloatArray) -> torch.Tensor:
        return self._extract(sounds, "input_values")
