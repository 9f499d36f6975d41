"""Sound power as the ear weighs it, for levels in dB(A).

The spectrum of each frame is weighed, so the curve is exact up to half the sample rate, where a
filter of a few sections would be wrong by several decibels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, FloatArray

_FRAME: Final = 4096
"""Samples: lines 4 Hz apart, so that a tone of 50 Hz is not taken for what lies beside it."""
_HOP: Final = _FRAME // 2


def a_weighting(hertz: NDArray[np.floating]) -> NDArray[np.floating]:
    """The weights of amplitudes: IEC 61672-1:2013, annex E; 1 at 1 kHz."""
    f1, f2, f3, f4 = 20.598997, 107.65265, 737.86223, 12194.217
    squared = np.square(hertz)

    def response(squared: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(
            f4**2
            * squared**2
            / ((squared + f1**2) * (squared + f4**2))
            / np.sqrt((squared + f2**2) * (squared + f3**2))
        )

    return response(squared) / response(np.asarray(1000.0**2))


class AWeightedPower:
    """Consecutive samples in, the mean square of what the ear makes of them out."""

    def __init__(self) -> None:
        self._window = np.hanning(_FRAME + 1)[:_FRAME]
        lines = 2 * np.square(a_weighting(np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE)))
        lines[-1] /= 2  # half the sample rate has no twin
        self._weights = lines / (_FRAME * np.square(self._window).sum())
        self._rest: FloatArray = np.empty(0, np.float32)

    def reset(self) -> None:
        """What follows does not adjoin."""
        self._rest = self._rest[:0]

    def push(self, samples: FloatArray) -> float | None:
        """Take (n,) samples; the mean of the frames that they complete, None if there is none."""
        sound = np.concatenate((self._rest, samples))
        powers: list[float] = []
        first = 0
        while first + _FRAME <= len(sound):
            spectrum = np.fft.rfft(sound[first : first + _FRAME] * self._window)
            powers.append(float(np.square(np.abs(spectrum)) @ self._weights))
            first += _HOP
        self._rest = sound[first:].copy()
        return sum(powers) / len(powers) if powers else None
