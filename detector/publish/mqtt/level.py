"""How loud each source is, on the mean over some seconds."""

from dataclasses import dataclass

from detector.decibels import dbfs


@dataclass(slots=True)
class _Interval:
    """The blocks of one source since an interval began: their sum, however many they are."""

    began: float
    """Seconds, on the clock of whoever pushes."""
    energy: float = 0.0
    """Sum of squares."""
    samples: int = 0
    """How many these are of."""
    waiting: int = 0
    """Samples whose power has not been told yet."""


class LevelMeter:
    """Mean levels over intervals, for each source."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` of 0 gives none."""
        self._interval_s = interval_s
        self._intervals: dict[str, _Interval] = {}

    def push(self, source: str, power: float | None, samples: int, now: float) -> float | None:
        """Add a block; gives the level in dBFS at the end of an interval.

        Args:
            source: whose.
            power: the mean square of this block, and of those before it that came without.
            samples: how many the block has.
            now: seconds.
        """
        if not self._interval_s:
            return None
        interval = self._intervals.setdefault(source, _Interval(now))
        interval.waiting += samples
        if power is None:
            return None
        interval.energy += power * interval.waiting
        interval.samples += interval.waiting
        interval.waiting = 0
        if now - interval.began < self._interval_s or not interval.samples:
            return None
        self._intervals[source] = _Interval(now)
        return round(dbfs(interval.energy / interval.samples), 1)
