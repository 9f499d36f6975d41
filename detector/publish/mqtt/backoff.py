"""Pauses between attempts to connect."""

import random


class Backoff:
    """Doubled each time up to the longest, less up to half by chance."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        pause = self._next_s
        self._next_s = min(2 * pause, self._longest_s)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it

    def reset(self) -> None:
        self._next_s = self._first_s
