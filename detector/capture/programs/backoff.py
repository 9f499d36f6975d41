"""How long to wait before what failed is tried again."""

import random
from typing import Final

FIRST_S: Final = 0.5
SHORT_S: Final = 2.0
"""What comes back soon is to be heard soon."""
PART: Final = 1 / 20
"""Of the time that it has been away: whoever was away for an hour may be heard a minute later."""
REFUSED_FIRST_S: Final = 60.0
REFUSED_LONGEST_S: Final = 600.0
"""Cameras lock out who gives a wrong password half a dozen times."""


class Backoff:
    """The pauses of one outage: each twice as long as the one before, and none quite regular."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s, self._next_refused_s = FIRST_S, REFUSED_FIRST_S
        self._since_s: float | None = None

    def pause_s(self, now_s: float, *, refused: bool) -> float:
        """The pause after another failure.

        Args:
            now_s: the time, on any clock that goes on.
            refused: whether it answered, and did not let us in.
        """
        if self._since_s is None:
            self._since_s = now_s
        if refused:
            pause_s = self._next_refused_s
            self._next_refused_s = min(2 * pause_s, REFUSED_LONGEST_S)
        else:
            pause_s = self._next_s
            most_s = max(SHORT_S, PART * (now_s - self._since_s))
            self._next_s = min(2 * pause_s, most_s, self._longest_s)
        return _irregular(pause_s)


def short_pause_s() -> float:
    """The pause before something is looked at that costs next to nothing."""
    return _irregular(SHORT_S)


def _irregular(pause_s: float) -> float:
    return pause_s * random.uniform(0.75, 1)  # noqa: S311 (nobody gains by guessing it)
