"""How many samples a device really delivers in a second.

Blocks come late by what the machine happens to do, and never early: so of every ten seconds the
least late block counts, and the line through those of the last minutes says how the device's clock
runs against this machine's. Where they lie on no line, as after a loss, nothing is said.
"""

import math
from collections import deque
from typing import Final

import numpy as np


class DriftMeter:
    """Watches one stream of a device."""

    _PERIOD_S: Final = 10.0
    _LEAST: Final = 7
    """Periods before anything is said: after a minute, 5 ms of jitter are 100 ppm."""
    _MOST: Final = 31
    _SCATTER_S: Final = 0.01
    """So far from the line a period may lie."""
    _SCATTER: Final = 0.1
    """Or so far, in parts of what the line rises by: if there is but one step, it is a quarter."""

    def __init__(self, rate: int) -> None:
        """Args: rate: Hertz, as the device says."""
        self._rate = rate
        self._least_late: deque[tuple[float, float]] = deque(maxlen=self._MOST)
        """When, and how late it was, both in seconds."""
        self._period_began = -math.inf
        self.ppm: float | None = None
        """By how many millionths more samples come than the device says."""

    def reset(self) -> None:
        """What follows does not adjoin; the drift stays what it was until it is measured anew."""
        self._least_late.clear()
        self._period_began = -math.inf

    def observe(self, end_frame: int, captured_s: float) -> None:
        """Take note that the frames before `end_frame` had been captured at that time."""
        late = captured_s - end_frame / self._rate
        if captured_s - self._period_began >= self._PERIOD_S:
            self._period_began = captured_s
            if len(self._least_late) >= self._LEAST:
                self._measure()
            self._least_late.append((captured_s, late))
        elif late < self._least_late[-1][1]:
            self._least_late[-1] = captured_s, late

    def _measure(self) -> None:
        """Say how the clock runs; begin anew if something else has made the sound late."""
        times, lateness = np.transpose(self._least_late)
        times, lateness = times - times[0], lateness - lateness[0]
        slope, intercept = np.polyfit(times, lateness, 1)
        off_s = np.abs(lateness - slope * times - intercept).max()
        if off_s > max(self._SCATTER_S, self._SCATTER * abs(slope) * times[-1]):
            self._least_late.clear()
        else:
            self.ppm = round(-1e6 * float(slope), 1)
