"""Windows of samples, normalised as Hugging Face's `Wav2Vec2FeatureExtractor` does."""

import numpy as np

from detector.records import FloatArray
from detector.spec import Waveform

_VARIANCE_FLOOR = 1e-7


def prepare(samples: FloatArray, frontend: Waveform, size: int) -> FloatArray:
    """Normalise what was heard and put silence after it.

    Args:
        samples: (n,) float32, 0 < n <= size.
        frontend: which normalisation.
        size: samples that the model takes.

    Returns:
        (size,) float32. The padding is zero after the normalisation and takes no part in it.
    """
    window = np.zeros(size, np.float32)
    heard = window[: len(samples)]
    heard[:] = samples
    if frontend.normalise == "zero_mean_unit_variance":
        variance = samples.var()
        heard -= samples.mean()
        heard /= np.sqrt(variance + _VARIANCE_FLOOR)
    return window
