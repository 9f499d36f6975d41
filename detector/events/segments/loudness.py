"""How loud a stretch of a source was, from the power of each hop."""

from bisect import bisect_left


class Loudness:
    """The running sum of power over time, kept as far back as is asked for."""

    def __init__(self, keep_samples: int) -> None:
        self._keep = keep_samples
        self._ends: list[int] = []
        self._energy: list[float] = []

    def keep(self, samples: int) -> None:
        """From now on keep so much."""
        self._keep = samples

    def push(self, end_sample: int, samples: int, power: float) -> None:
        """Add `samples` samples of mean square `power` that end at `end_sample`."""
        if not samples:
            return
        begin = end_sample - samples
        if not self._ends or self._ends[-1] != begin:  # a beginning, or skipped windows
            total = self._energy[-1] if self._energy else 0.0
            self._ends.append(begin)
            self._energy.append(total)
        self._ends.append(end_sample)
        self._energy.append(self._energy[-1] + samples * power)
        old = bisect_left(self._ends, end_sample - self._keep) - 1
        if old > len(self._ends) // 2:  # now and then, so that it costs little
            del self._ends[:old], self._energy[:old]

    def energy(self, sample: int) -> float:
        """Power times samples of all that came before `sample`."""
        i = bisect_left(self._ends, sample)
        if i == len(self._ends):
            return self._energy[-1] if self._energy else 0.0
        if i == 0 or self._ends[i] == sample:
            return self._energy[i]
        before, after = self._ends[i - 1], self._ends[i]
        part = (sample - before) / (after - before)
        return self._energy[i - 1] + part * (self._energy[i] - self._energy[i - 1])
