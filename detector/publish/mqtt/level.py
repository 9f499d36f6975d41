"""How loud each source is, on the mean over some seconds."""

from detector.decibels import dbfs


class Levels:
    """Means over intervals, for each source."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` of 0 gives none."""
        self._interval_s = interval_s
        self._began: dict[str, float] = {}
        self._powers: dict[str, list[float]] = {}

    def push(self, source: str, power: float, now: float) -> float | None:
        """Add a mean square; gives the level in dBFS at the end of an interval.

        Blocks are taken for equally long, which they are to within what a level is good for.
        """
        if not self._interval_s:
            return None
        powers = self._powers.setdefault(source, [])
        powers.append(power)
        if now - self._began.setdefault(source, now) < self._interval_s:
            return None
        self._began[source] = now
        mean = sum(powers) / len(powers)
        powers.clear()
        return round(dbfs(mean), 1)
