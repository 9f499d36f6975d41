"""How a source is, of all that is known of it: its capture, its signal and its models."""

from typing import Final

import numpy as np

from detector.decibels import dbfs
from detector.health_report import HealthReport
from detector.operate.a_weighting import AWeightedPower
from detector.operate.problems import problems
from detector.operate.signal_monitor import SignalHealth, SignalMonitor
from detector.records import AudioBlock, SourceStatus, StreamInfo, to_samples


class SourceHealth:
    """Takes what happens to a source; tells its status in a word, and its health in a report."""

    def __init__(self, *, removes_offset: bool = False) -> None:
        """Args: removes_offset: a filter keeps an offset from the models."""
        self._removes_offset = removes_offset
        self._captured: SourceStatus = "offline"
        self._monitor = SignalMonitor()
        self._signal: SignalHealth = "listening"
        self._hung: set[str] = set()
        self._level, self._a_level = _Mean(), _Mean()
        self._a_weighted = AWeightedPower()
        self._end_sample = 0

    @property
    def status(self) -> SourceStatus:
        """The capture's word, unless it is listening; then models that hang, then the signal."""
        if self._captured != "listening":
            return self._captured
        return "stalled" if self._hung else self._signal

    def report(self, stream: StreamInfo | None, failure: str | None) -> HealthReport:
        """All of it.

        Args:
            stream: what is known of how the sound arrives.
            failure: why nothing is captured.
        """
        offset, status = self._monitor.dc_offset, self.status
        reaching = None if self._removes_offset else offset
        return HealthReport(
            status=status,
            problems=tuple(problems(status, stream, reaching, failure)),
            level_dbfs=self._level.dbfs,
            level_a_dbfs=self._a_level.dbfs,
            dc_offset=None if offset is None else round(offset, 4),
            clipped=round(self._monitor.clipped, 4),
            stream=stream,
        )

    def captured(self, status: SourceStatus) -> None:
        """Take the capture's word."""
        self._captured, self._signal = status, "listening"

    def push(self, raw: AudioBlock, heard: AudioBlock) -> tuple[float, float | None]:
        """Take the next samples, as they were captured and as the models hear them.

        Returns:
            The mean square of what is heard, and the A-weighted one, if the block completes a
            stretch that is long enough for it.
        """
        self._signal = self._monitor.push(raw)
        if heard.first_sample != self._end_sample:
            self._a_weighted.reset()
        self._end_sample = heard.end_sample
        power = float(np.square(heard.samples).mean()) if len(heard.samples) else 0.0
        a_weighted = self._a_weighted.push(heard.samples)
        self._level.push(power, len(heard.samples))
        self._a_level.push(a_weighted, len(heard.samples))
        return power, a_weighted

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


class _Mean:
    """The level of the last whole minute of sound; of what there is, before it."""

    _SAMPLES: Final = to_samples(60)

    def __init__(self) -> None:
        self._energy, self._samples, self._waiting = 0.0, 0, 0
        self._last: float | None = None

    @property
    def dbfs(self) -> float | None:
        power = self._energy / self._samples if self._samples else None
        power = power if self._last is None else self._last
        return None if power is None else round(dbfs(power), 1)

    def push(self, power: float | None, samples: int) -> None:
        """Add samples; None if a later power is theirs too."""
        self._waiting += samples
        if power is None:
            return
        self._energy += power * self._waiting
        self._samples += self._waiting
        self._waiting = 0
        if self._samples >= self._SAMPLES:
            self._last = self._energy / self._samples
            self._energy, self._samples = 0.0, 0
