"""Many channels become one."""

from typing import Literal

import numpy as np

from detector.errors import ConfigError
from detector.records import FloatArray


def select_channel(samples: FloatArray, channel: int | Literal["mix"]) -> FloatArray:
    """One channel, or the mean of all.

    Args:
        samples: (n, channels) float32.
        channel: counted from 1, or mix.

    Returns:
        (n,) float32, bitwise the same however the samples are cut into blocks.

    Raises:
        ConfigError: there is no such channel.
    """
    channels = samples.shape[1]
    if channel != "mix":
        if not 1 <= channel <= channels:
            raise ConfigError(
                f"channel = {channel}: the sound has {channels} channel{'s' * (channels > 1)}"
            )
        return np.ascontiguousarray(samples[:, channel - 1])
    if channels == 1:
        return np.ascontiguousarray(samples[:, 0])
    # Added one by one: NumPy's own sum over an axis may round differently for other lengths.
    total = samples[:, 0] + samples[:, 1]
    for i in range(2, channels):
        total += samples[:, i]
    mean: FloatArray = total * np.float32(1 / channels)
    return mean
