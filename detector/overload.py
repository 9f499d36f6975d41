"""When a model that cannot keep up leaves out windows, and how many; when it is said to hang.

Knows no clock: it is told.
"""

import math
from typing import Final

from detector.records import to_samples, to_seconds

LATE_S: Final = 2.0
"""A backlog beside the hop that is left to itself: most are gone in a moment."""
OBSERVED_S: Final = 1.0
"""For how long a backlog must not shrink."""
BURST_S: Final = 0.5
"""Sound that arrives by so much faster than it was made is a burst after a stall."""

HUNG_HOPS: Final = 5
HUNG_S: Final = 5.0
"""A model that has not answered for so many hops, and so long, is said to have stalled."""
MOST_PATIENCE_S: Final = 7.0
"""Beside a hop: for other models of the source the sound waits in the ring meanwhile."""


def patience_s(hop_samples: int) -> float:
    """How long an answer may take before it is said that the model hangs."""
    hop_s = to_seconds(hop_samples)
    return max(HUNG_S, min(HUNG_HOPS * hop_s, hop_s + MOST_PATIENCE_S))


class OverloadRule:
    """For one model that listens to one source.

    A backlog that shrinks, however large, is worked off. One that does not is cut by what it has
    grown and one window more, so that it shrinks.
    """

    def __init__(self, hop_samples: int) -> None:
        self._hop = hop_samples
        self._last_backlog = self._reference = 0
        self._last_s = self._since_s = math.inf

    def idle(self) -> None:
        """The model has nothing to do: whatever comes next, it is not late by its own fault."""
        self._last_s = math.inf

    def windows_to_skip(self, backlog_samples: int, now_s: float) -> int:
        """Say how many windows are to be left out now that the model has answered again.

        Args:
            backlog_samples: sound that waits for the model.
            now_s: seconds, on a clock that only goes forward.
        """
        grown, elapsed_s = backlog_samples - self._last_backlog, now_s - self._last_s
        self._last_backlog, self._last_s = backlog_samples, now_s
        burst = elapsed_s < 0 or grown > to_samples(elapsed_s + BURST_S)  # or the beginning
        small = backlog_samples <= self._hop + to_samples(LATE_S)
        if burst or small or backlog_samples < self._reference:
            self._reference, self._since_s = backlog_samples, now_s
            return 0
        if now_s - self._since_s < OBSERVED_S:
            return 0
        count = (backlog_samples - self._reference) // self._hop + 1
        self._reference, self._since_s = backlog_samples - count * self._hop, now_s
        self._last_backlog = self._reference
        return count
