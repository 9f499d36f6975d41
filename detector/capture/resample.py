"""Any rate becomes the analysis rate."""

from typing import Final

import numpy as np
import soxr

from detector.errors import SourceError
from detector.records import SAMPLE_RATE, FloatArray

MIN_RATE: Final = 8_000
MAX_RATE: Final = 192_000
"""Hertz."""


def check_rate(rate: int) -> None:
    """Refuse a rate that makes no sense here.

    Raises:
        SourceError: the rate is too low to hold what the models listen for, or absurdly high.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise SourceError(
            f"a sample rate of {rate} Hz is not supported, only {MIN_RATE} to {MAX_RATE} Hz"
        )


class Resampler:
    """One mono stream from `rate` to the analysis rate (soxr, HQ).

    Sample k of all that is returned belongs to the time k / SAMPLE_RATE after the first sample
    that was pushed, and is bitwise the same however the input is cut. It comes out up to 0.12 s
    later than it went in, until `finish` returns the rest.
    """

    def __init__(self, rate: int) -> None:
        check_rate(rate)
        self._stream = (
            None
            if rate == SAMPLE_RATE
            else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        )

    def push(self, samples: FloatArray) -> FloatArray:
        """Take (n,) samples, return those that are ready."""
        if self._stream is None or not len(samples):
            return samples
        ready: FloatArray = self._stream.resample_chunk(samples)
        return ready

    def finish(self) -> FloatArray:
        """Return what was held back; nothing may be pushed afterwards."""
        if self._stream is None:
            return np.empty(0, np.float32)
        rest: FloatArray = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        return rest
