"""How loud a stretch of a source was, from the power of each hop."""

import math
from array import array
from bisect import bisect_left, bisect_right


class Loudness:
    """The power of each hop, kept as far back as is asked for.

    What is asked for is summed from the hops that lie in it, so that nothing before or after it,
    however loud or broken, touches the sum.
    """

    def __init__(self, keep_samples: int) -> None:
        self._keep = keep_samples
        self._begins, self._ends = array("q"), array("q")
        self._powers = array("d")

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
        self._powers.append(power if math.isfinite(power) else 0.0)
        old = bisect_right(self._ends, end_sample - self._keep)
        if old > len(self._ends) // 2:  # now and then, so that it costs little
            del self._begins[:old], self._ends[:old], self._powers[:old]

    def energy(self, first_sample: int, end_sample: int) -> float:
        """Power times samples of a stretch; what is not known of it counts as silence."""
        if end_sample <= first_sample:
            return 0.0
        hops = range(bisect_right(self._ends, first_sample), bisect_left(self._begins, end_sample))
        return math.fsum(
            self._powers[hop]
            * (min(end_sample, self._ends[hop]) - max(first_sample, self._begins[hop]))
            for hop in hops
        )
