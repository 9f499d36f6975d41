"""How loud each source is, on the mean over some seconds."""

from dataclasses import dataclass

from detector.decibels import dbfs


@dataclass(slots=True)
class _Interval:
    """The blocks of one source since an interval began: their sum, however many they are."""

    began: float
    """Seconds, on the clock of whoever pushes."""
    total: float = 0.0
    """Sum of mean squares."""
    blocks: int = 0


class LevelMeter:
    """Mean levels over intervals, for each source."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` of 0 gives none."""
        self._interval_s = interval_s
        self._intervals: dict[str, _Interval] = {}

    def push(self, source: str, power: float, now: float) -> float | None:
        """Add a mean square; gives the level in dBFS at the end of an interval.

        Blocks are taken for equally long, which they are to within what a level is good for.
        """
        if not self._interval_s:
            return None
        interval = self._intervals.setdefault(source, _Interval(now))
        interval.total += power
        interval.blocks += 1
        if now - interval.began < self._interval_s:
            return None
        self._intervals[source] = _Interval(now)
        return round(dbfs(interval.total / interval.blocks), 1)
