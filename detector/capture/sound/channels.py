"""Many channels become one."""

import math
from typing import Final, Literal

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
    # What is not finite stays so, and is found later.
    with np.errstate(invalid="ignore", over="ignore"):
        total = samples[:, 0] + samples[:, 1]
        for i in range(2, channels):
            total += samples[:, i]
    mean: FloatArray = total * np.float32(1 / channels)
    return mean


class PhaseMonitor:
    """Notices that channels cancel each other in their mean, as if one were wired the wrong way.

    Sounds that have nothing in common lose 3 dB in the mean of two channels, and 9 dB in that of
    eight; what loses 15 dB in ten seconds of sound was taken away.
    """

    _SOUND_S: Final = 10
    _AUDIBLE: Final = 1e-7
    """Mean square, -70 dBFS: below it are noises of the converters."""
    _CANCELLED: Final = 10**-1.5

    def __init__(self, rate: int) -> None:
        """Args: rate: Hertz."""
        self._needed = self._SOUND_S * rate
        self._frames, self._of_channels, self._of_mean = 0, 0.0, 0.0
        self.cancels = False

    def push(self, samples: FloatArray, mean: FloatArray) -> None:
        """Take (n, channels) samples and their (n,) mean."""
        if samples.shape[1] < 2 or not len(samples):  # noqa: PLR2004 (a channel alone cancels nothing)
            return
        with np.errstate(over="ignore", invalid="ignore"):  # what is no sound is left out later
            power, of_mean = float(np.square(samples).mean()), float(np.square(mean).sum())
        if not self._AUDIBLE <= power < math.inf:
            return
        self._frames += len(samples)
        self._of_channels += power * len(samples)
        self._of_mean += of_mean
        if self._frames >= self._needed:
            self.cancels = self._of_mean < self._CANCELLED * self._of_channels
            self._frames, self._of_channels, self._of_mean = 0, 0.0, 0.0
