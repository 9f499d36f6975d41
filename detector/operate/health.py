"""Whether what a microphone delivers can be sound at all, and how its source is in one word."""

import math
from typing import Final, Literal

import numpy as np

from detector.records import AudioBlock, SourceStatus, to_samples

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

    def __init__(self) -> None:
        self._still = 0  # samples since the signal last moved
        self._low, self._high = math.inf, -math.inf  # between which it has been since then
        self._clipped = 0.0  # share of samples at full scale, a running mean

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
        self._clipped += weight * (share - self._clipped)
        return self._health()

    def _health(self) -> SignalHealth:
        if self._still >= self._SILENT_AFTER:
            return "silent"
        return "clipping" if self._clipped > self._CLIPPING_SHARE else "listening"


class SourceHealth:
    """How a source is, of all that is known of it: its capture, its signal and its models."""

    def __init__(self) -> None:
        self._captured: SourceStatus = "offline"
        self._monitor = SignalMonitor()
        self._signal: SignalHealth = "listening"
        self._hung: set[str] = set()

    @property
    def status(self) -> SourceStatus:
        """The capture's word, unless it is listening; then models that hang, then the signal."""
        if self._captured != "listening":
            return self._captured
        return "stalled" if self._hung else self._signal

    def captured(self, status: SourceStatus) -> None:
        """Take the capture's word."""
        self._captured, self._signal = status, "listening"

    def push(self, block: AudioBlock) -> None:
        """Take the next samples."""
        self._signal = self._monitor.push(block)

    def hangs(self, model: str) -> bool:
        """Whether a model does not answer."""
        return model in self._hung

    def hang(self, model: str) -> None:
        """A model does not answer."""
        self._hung.add(model)

    def answer(self, model: str) -> bool:
        """A model has answered; say whether it had not for a while."""
        hung = model in self._hung
        self._hung.discard(model)
        return hung
