"""The time stamps of a stream ─► which frames are missing, and when each was captured.

Packets come late, never early: a camera's by the jitter of the network, those of HLS by up to a
segment, all at once. So the difference between when a packet came and when its stamp says it was
heard is least for those that were least late, and that one is believed: a frame is taken to have
been captured at its stamp plus the least difference of the last seconds. A burst is then sound like
any other, and a stream whose own clock is wrong is followed.
"""

from collections import deque
from typing import Final, NamedTuple

JUMP_S: Final = 0.05
"""Stamps that jump by less are jitter: cameras stamp by the clock on their wall."""
BACK_S: Final = 0.5
"""Stamps that fall so far behind what was counted were counted anew, or wrongly."""
DRIFT: Final = 0.01
"""By which part of the time stamps and samples may differ for ever."""
EARLY_S: Final = 0.1
"""How much too early a packet may seem."""
WINDOW_S: Final = 20
"""Of how many seconds the least difference is taken: more than there are between two segments."""


class _Second(NamedTuple):
    second: int
    least_s: float
    most_s: float


class StreamClock:
    """Follows one stream. Knows no clock of its own."""

    def __init__(self) -> None:
        self._end_s: float | None = None
        """The stamp that is expected next."""
        self._counted_s = 0.0
        """The same, by the durations."""
        self._shift_s = 0.0
        """What is added to the stamps, so that they go on though they were counted anew."""
        self._seconds: deque[_Second] = deque()

    def place(self, stamp_s: float | None, duration_s: float, arrived_s: float) -> float:
        """Take what was decoded next.

        Args:
            stamp_s: when it begins, by the stream's time; None if it does not say.
            duration_s: how long it lasts.
            arrived_s: when its packet came.

        Returns:
            how many seconds before it are missing, by the stamps.
        """
        missing_s = 0.0
        if self._end_s is None:
            begin_s = self._counted_s = stamp_s or 0.0
        elif stamp_s is None:
            begin_s = self._end_s
        else:
            begin_s = stamp_s + self._shift_s
            jump_s = begin_s - self._end_s
            if jump_s > JUMP_S and begin_s + duration_s + self._least_s <= arrived_s + EARLY_S:
                missing_s = jump_s
            elif jump_s > JUMP_S or begin_s < self._counted_s - BACK_S:
                expected_s = max(self._end_s, self._counted_s)
                self._shift_s += expected_s - begin_s
                begin_s = expected_s
        self._end_s = begin_s + duration_s
        self._counted_s += missing_s + duration_s
        most_s = DRIFT * duration_s
        self._counted_s += min(max(self._end_s - self._counted_s, -most_s), most_s)
        self._observe(arrived_s)
        return missing_s

    @property
    def end_s(self) -> float:
        """Where, in the stream's time, what was placed ends."""
        return self._end_s or 0.0

    @property
    def burst_s(self) -> float:
        """By how much the packets of the last seconds differ in lateness."""
        most = max((second.most_s for second in self._seconds), default=0.0)
        return most - self._least_s

    def captured_s(self, stream_s: float) -> float:
        """When what is at a moment of the stream was captured, on the clock of the arrivals."""
        return stream_s + self._least_s

    @property
    def _least_s(self) -> float:
        return min((second.least_s for second in self._seconds), default=0.0)

    def _observe(self, arrived_s: float) -> None:
        late_s, second = arrived_s - self.end_s, int(arrived_s)
        if self._seconds and self._seconds[-1].second == second:
            last = self._seconds.pop()
            least, most = min(last.least_s, late_s), max(last.most_s, late_s)
            self._seconds.append(_Second(second, least, most))
        else:
            self._seconds.append(_Second(second, late_s, late_s))
        while self._seconds[0].second < second - WINDOW_S:
            self._seconds.popleft()
