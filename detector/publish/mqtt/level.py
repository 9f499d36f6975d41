"""How loud each source is, on the mean over some seconds."""

import math
from dataclasses import dataclass

from detector.publish.messages import LEVEL_FLOOR_DBFS


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
        mean = interval.total / interval.blocks
        level = 10 * math.log10(mean) if mean > 0 else LEVEL_FLOOR_DBFS
        return round(max(level, LEVEL_FLOOR_DBFS), 1)
