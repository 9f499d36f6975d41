"""Sample index ─► UTC.

A sound card counts samples with its own crystal, which is wrong by up to some 200 ppm and changes
with temperature. What is known of it is when each block arrived: never early, and late by a
jitter that depends on how busy the machine is. So the clock follows the lower edge of what
arrives: a line through (sample, seconds) that is turned a little every ten seconds, so that it
touches the least late block. It is continuous: time never jumps while the card counts.

Times are of the machine's boottime clock, which goes on while the machine is suspended.
"""

import math
import time
from bisect import bisect_right
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from detector.boottime import boottime
from detector.records import SAMPLE_RATE


class Clock(Protocol):
    """Leads from a sample to its time, and back."""

    @property
    def started(self) -> bool:
        """Whether anything was captured; before that, no question can be answered."""
        ...

    def utc(self, sample: int) -> datetime:
        """When the sample was captured."""
        ...

    def sample_at_utc(self, moment: datetime) -> float:
        """Which sample is captured at a time: the inverse of `utc`."""
        ...


class _Line(NamedTuple):
    sample: int
    at: float
    """Seconds on the boottime clock."""
    slope: float
    """Seconds per sample."""


class SampleClock:
    """The clock of a live source. Belongs to the thread of the event loop."""

    _ADJUST_S: Final = 10.0
    """How often the slope is adjusted, and over how long the least late block is looked for."""
    _ADJUST_BLOCKS: Final = 20
    """How many blocks that takes at least."""
    _LONGEST_BLOCK_S: Final = 1.0
    _PROPORTIONAL_GAIN: Final = 0.5
    """How much of the error of the last stretch is made up for in the next one."""
    _INTEGRAL_GAIN: Final = 0.1
    """How much of it is taken for drift. The two make a loop that settles without swinging."""
    _MAX_DRIFT: Final = 500e-6
    _MAX_CORRECTION: Final = 1000e-6
    """Seconds per second."""
    _STEP_S: Final = 0.05
    """A block that is earlier than this was captured before the line says it was: the line is
    wrong, since samples were lost or made up, and following slowly would keep it wrong longer."""
    _LINES: Final = 360
    """An hour of history, so that a long segment's onset stays where it was."""

    def __init__(self, nominal_rate: int = SAMPLE_RATE) -> None:
        """Args: nominal_rate: samples per second, as the source promises."""
        self._period = 1 / nominal_rate
        self._drift = 0.0
        self._lines: deque[_Line] = deque(maxlen=self._LINES)
        self._settling = True
        self._captured_at = 0.0
        self._observed_s = 0.0
        self._least_late_s = math.inf
        self._blocks = 0

    @property
    def started(self) -> bool:
        """Whether anything was observed; before that, no question can be answered."""
        return bool(self._lines)

    def observe(self, end_sample: int, captured_at: float) -> None:
        """Take note that the samples before `end_sample` had been captured at that time."""
        if not self._lines:
            self._lines.append(_Line(end_sample, captured_at, self._period))
            self._captured_at = captured_at
            return
        late_s = captured_at - self._on(self._lines[-1], end_sample)
        if late_s < -self._STEP_S or (self._settling and late_s < 0):
            if self._settling:
                self._lines.clear()  # the first blocks were late: nothing worth keeping
            slope = self._period * (1 + self._drift)
            self._lines.append(_Line(end_sample, captured_at, slope))
            late_s = 0.0
        self._least_late_s = min(self._least_late_s, late_s)
        self._blocks += 1
        # An interruption does not count: after it, a backlog alone must not turn the line.
        self._observed_s += min(captured_at - self._captured_at, self._LONGEST_BLOCK_S)
        self._captured_at = captured_at
        if self._observed_s >= self._ADJUST_S and self._blocks >= self._ADJUST_BLOCKS:
            self._adjust(end_sample)

    def captured_at(self, sample: int) -> float:
        """When the sample was captured, in seconds on the boottime clock.

        Raises:
            ValueError: nothing was observed yet.
        """
        self._require_started()
        after = bisect_right(self._lines, sample, key=lambda line: line.sample)
        return self._on(self._lines[max(0, after - 1)], sample)

    def sample_at(self, captured_at: float) -> float:
        """Which sample is captured at a time: the inverse of `captured_at`, for now.

        Raises:
            ValueError: nothing was observed yet.
        """
        self._require_started()
        line = self._lines[-1]
        return line.sample + (captured_at - line.at) / line.slope

    def utc(self, sample: int) -> datetime:
        """When the sample was captured. The wall clock is asked now: it may have been set since.

        Raises:
            ValueError: nothing was observed yet.
        """
        ago = boottime() - self.captured_at(sample)
        return datetime.fromtimestamp(time.time() - ago, UTC)

    def sample_at_utc(self, moment: datetime) -> float:
        """Which sample is captured at a time: the inverse of `utc`, for now.

        Raises:
            ValueError: nothing was observed yet.
        """
        ago = time.time() - moment.timestamp()
        return self.sample_at(boottime() - ago)

    def _require_started(self) -> None:
        if not self._lines:
            raise ValueError("the clock has not observed anything yet")

    @staticmethod
    def _on(line: _Line, sample: int) -> float:
        return line.at + (sample - line.sample) * line.slope

    def _adjust(self, sample: int) -> None:
        """Turn the line at `sample`."""
        error = self._least_late_s / self._ADJUST_S
        self._drift = _limit(self._drift + self._INTEGRAL_GAIN * error, self._MAX_DRIFT)
        correction = _limit(self._drift + self._PROPORTIONAL_GAIN * error, self._MAX_CORRECTION)
        at = self._on(self._lines[-1], sample)
        self._lines.append(_Line(sample, at, self._period * (1 + correction)))
        self._settling = False
        self._observed_s, self._least_late_s, self._blocks = 0.0, math.inf, 0


class FixedClock:
    """The clock of a recording: its first sample has a time, and its rate is exact."""

    def __init__(self, start: datetime) -> None:
        self._start = start

    @property
    def started(self) -> bool:
        """Always."""
        return True

    def utc(self, sample: int) -> datetime:
        """The sample's time, in whole microseconds, rounded down."""
        return self._start + timedelta(microseconds=sample * 1_000_000 // SAMPLE_RATE)

    def sample_at_utc(self, moment: datetime) -> float:
        """Which sample belongs to a time."""
        return (moment - self._start).total_seconds() * SAMPLE_RATE


def _limit(value: float, most: float) -> float:
    return max(-most, min(most, value))
