"""Sample index ─► UTC.

A sound card counts samples with its own crystal, which is wrong by up to some 200 ppm and changes
with temperature. What is known of it is when each block arrived: never early, and late by a
jitter that depends on how busy the machine is. So the clock follows the lower edge of what
arrives: a line through (sample, seconds) that is turned a little every ten seconds, so that it
touches the least late block. It is continuous: time never jumps while the card counts.
"""

import math
import time
from bisect import bisect_right
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from detector.records import SAMPLE_RATE


class Clock(Protocol):
    """What an event needs to know of time."""

    def utc(self, sample: int) -> datetime:
        """When the sample was heard."""
        ...


class _Line(NamedTuple):
    sample: int
    at: float
    """Seconds on the monotonic clock."""
    slope: float
    """Seconds per sample."""


class SampleClock:
    """The clock of a live source. Belongs to the thread of the event loop."""

    _TURN_S: Final = 10.0
    """How often the line is turned, and over how long the least late block is looked for."""
    _TURN_BLOCKS: Final = 20
    """How many blocks that takes at least."""
    _LONGEST_BLOCK_S: Final = 1.0
    _FOLLOW: Final = 0.5
    """How much of the error of the last stretch is made up for in the next one."""
    _LEARN: Final = 0.1
    """How much of it is taken for drift. With _FOLLOW, a loop that settles without swinging."""
    _MAX_DRIFT: Final = 500e-6
    _MAX_TURN: Final = 1000e-6
    """Seconds per second."""
    _STEP_S: Final = 0.05
    """A block that is earlier than this was heard before the line says it was: the line is wrong,
    since samples were lost or made up, and following slowly would only keep it wrong longer."""
    _LINES: Final = 360
    """An hour of history, so that a long segment's onset stays where it was."""

    def __init__(self, nominal_rate: int = SAMPLE_RATE) -> None:
        """Args: nominal_rate: samples per second, as the source promises."""
        self._period = 1 / nominal_rate
        self._drift = 0.0
        self._lines: deque[_Line] = deque(maxlen=self._LINES)
        self._settling = True
        self._heard_at = 0.0
        self._listened_s = 0.0
        self._least_late = math.inf
        self._blocks = 0

    @property
    def started(self) -> bool:
        """Whether anything was observed; before that, no question can be answered."""
        return bool(self._lines)

    def observe(self, end_sample: int, heard_at_monotonic_s: float) -> None:
        """Take note that the samples before `end_sample` had arrived at that time."""
        if not self._lines:
            self._lines.append(_Line(end_sample, heard_at_monotonic_s, self._period))
            self._heard_at = heard_at_monotonic_s
            return
        late = heard_at_monotonic_s - self._on(self._lines[-1], end_sample)
        if late < -self._STEP_S or (self._settling and late < 0):
            if self._settling:
                self._lines.clear()  # the first blocks were late: nothing worth keeping
            slope = self._period * (1 + self._drift)
            self._lines.append(_Line(end_sample, heard_at_monotonic_s, slope))
            late = 0.0
        self._least_late = min(self._least_late, late)
        self._blocks += 1
        # A silence is not listening: after it, a backlog alone must not turn the line.
        self._listened_s += min(heard_at_monotonic_s - self._heard_at, self._LONGEST_BLOCK_S)
        self._heard_at = heard_at_monotonic_s
        if self._listened_s >= self._TURN_S and self._blocks >= self._TURN_BLOCKS:
            self._turn(end_sample)

    def monotonic(self, sample: int) -> float:
        """When the sample was heard, in seconds on the monotonic clock.

        Raises:
            ValueError: nothing was observed yet.
        """
        if not self._lines:
            raise ValueError("the clock has not heard anything yet")
        after = bisect_right(self._lines, sample, key=lambda line: line.sample)
        return self._on(self._lines[max(0, after - 1)], sample)

    def sample_at(self, monotonic_s: float) -> float:
        """The index of the sample that is heard at a time: the inverse of `monotonic`, for now.

        Raises:
            ValueError: nothing was observed yet.
        """
        if not self._lines:
            raise ValueError("the clock has not heard anything yet")
        line = self._lines[-1]
        return line.sample + (monotonic_s - line.at) / line.slope

    def utc(self, sample: int) -> datetime:
        """When the sample was heard. The wall clock is asked now: it may have been set since.

        Raises:
            ValueError: nothing was observed yet.
        """
        ago = time.monotonic() - self.monotonic(sample)
        return datetime.fromtimestamp(time.time() - ago, UTC)

    @staticmethod
    def _on(line: _Line, sample: int) -> float:
        return line.at + (sample - line.sample) * line.slope

    def _turn(self, sample: int) -> None:
        error = self._least_late / self._TURN_S
        self._drift = _limit(self._drift + self._LEARN * error, self._MAX_DRIFT)
        turn = _limit(self._drift + self._FOLLOW * error, self._MAX_TURN)
        at = self._on(self._lines[-1], sample)
        self._lines.append(_Line(sample, at, self._period * (1 + turn)))
        self._settling = False
        self._listened_s, self._least_late, self._blocks = 0.0, math.inf, 0


class FixedClock:
    """The clock of a recording: its first sample has a time, and its rate is exact."""

    def __init__(self, start: datetime) -> None:
        self._start = start

    def utc(self, sample: int) -> datetime:
        """The sample's time, in whole microseconds, rounded down."""
        return self._start + timedelta(microseconds=sample * 1_000_000 // SAMPLE_RATE)


def _limit(value: float, most: float) -> float:
    return max(-most, min(most, value))
