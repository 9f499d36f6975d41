"""`Wav2Vec2FeatureExtractor`: the samples themselves, normalised within the window or not."""

from typing import Any

import torch

from detector.records import FloatArray
from detector.spec import Waveform
from export.features.base import Features


class SampleFeatures(Features):
    """The whole extractor is the bundle's front end.

    The attention mask that some extractors give for a padded window is left out: padding is heard
    as silence.
    """

    extractors = ("Wav2Vec2FeatureExtractor",)
    required = {"feature_size": 1}  # noqa: RUF012 (the base says that it is the class's)
    step = 1
    frame = (0, 1, 1)

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401
        super().__init__(extractor)
        self.frontend = Waveform(
            normalise="zero_mean_unit_variance" if extractor.do_normalize else "none"
        )

    def reference(self, sounds: FloatArray) -> torch.Tensor:
        return self._extract(sounds, "input_values")
