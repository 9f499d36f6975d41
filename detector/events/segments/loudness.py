"""How loud a stretch of a source was, from the power of each hop."""

import math
from array import array
from bisect import bisect_left, bisect_right


class Loudness:
    """The energy of each hop, kept as far back as is asked for.

    What is asked for is summed from the hops that lie in it, so that nothing before or after it,
    however loud or broken, touches the sum.
    """

    def __init__(self, keep_samples: int) -> None:
        self._keep = keep_samples
        self._begins, self._ends = array("q"), array("q")
        self._energies = array("d")

    def keep(self, samples: int) -> None:
        """From now on keep so much."""
        self._keep = samples

    def push(self, end_sample: int, samples: int, power: float) -> None:
        """Add `samples` samples of mean square `power` that end at `end_sample`.

        Hops come in order and do not overlap. A power that is not finite is not known, and counts
        as none.
        """
        if not samples:
            return
        self._begins.append(end_sample - samples)
        self._ends.append(end_sample)
        self._energies.append(samples * power if math.isfinite(power) else 0.0)
        old = bisect_right(self._ends, end_sample - self._keep)
        if old > len(self._ends) // 2:  # now and then, so that it costs little
            del self._begins[:old], self._ends[:old], self._energies[:old]

    def energy(self, first_sample: int, end_sample: int) -> float:
        """Power times samples of a stretch; what is not known of it counts as silence."""
        if end_sample <= first_sample:
            return 0.0
        first = bisect_right(self._ends, first_sample)
        after = bisect_left(self._begins, end_sample)
        if after - first <= 1:
            return sum(self._part(hop, first_sample, end_sample) for hop in range(first, after))
        return math.fsum(
            (
                self._part(first, first_sample, end_sample),
                *self._energies[first + 1 : after - 1],
                self._part(after - 1, first_sample, end_sample),
            )
        )

    def _part(self, hop: int, first_sample: int, end_sample: int) -> float:
        """The energy of as much of a hop as lies in the stretch."""
        begin, end = self._begins[hop], self._ends[hop]
        shared = min(end_sample, end) - max(first_sample, begin)
        return self._energies[hop] * (shared / (end - begin))
