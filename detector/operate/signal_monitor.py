"""Whether what a microphone delivers can be sound at all."""

import math
from typing import Final, Literal

import numpy as np

from detector.records import AudioBlock, to_samples

SignalHealth = Literal["listening", "silent", "clipping"]


class SignalMonitor:
    """Watches the samples of one source.

    silent: for 10 s the signal has not moved by more than one step of 16-bit sound, as from a dead
    or muted microphone; a quiet room is louder than that.
    clipping: in the last 2 s more than 1 % of the samples were at full scale.
    """

    _SILENT_AFTER: Final = to_samples(10)
    _ONE_STEP: Final = 1.5 / 32768
    _CLIPPING_WITHIN: Final = to_samples(2)
    _FULL_SCALE: Final = 0.999
    _CLIPPING_SHARE: Final = 0.01
    _OFFSET_WITHIN: Final = to_samples(10)

    def __init__(self) -> None:
        self.clipped = 0.0
        """Share of samples at full scale, a running mean."""
        self.dc_offset: float | None = None
        """Mean of the samples, a running mean; None before there are enough."""
        self._still = 0  # samples since the signal last moved
        self._low, self._high = math.inf, -math.inf  # between which it has been since then
        self._mean, self._heard = 0.0, 0

    def push(self, block: AudioBlock) -> SignalHealth:
        """Take the next samples; say how the signal is now."""
        samples = block.samples
        if not len(samples):
            return self._health()
        self._low = min(self._low, float(samples.min()))
        self._high = max(self._high, float(samples.max()))
        self._still += len(samples)
        if self._high - self._low > self._ONE_STEP:
            self._still = 0
            self._low = self._high = float(samples[-1])
        share = float((np.abs(samples) >= self._FULL_SCALE).mean())
        weight = min(1.0, len(samples) / self._CLIPPING_WITHIN)
        self.clipped += weight * (share - self.clipped)
        self._heard += len(samples)
        weight = min(1.0, len(samples) / min(self._heard, self._OFFSET_WITHIN))
        self._mean += weight * (float(samples.mean(dtype=np.float64)) - self._mean)
        if self._heard >= self._OFFSET_WITHIN:
            self.dc_offset = self._mean
        return self._health()

    def _health(self) -> SignalHealth:
        if self._still >= self._SILENT_AFTER:
            return "silent"
        return "clipping" if self.clipped > self._CLIPPING_SHARE else "listening"
