"""Whether the disk does what it is asked, and when it is to be tried again."""

import math
from enum import Enum, auto
from typing import Final

LONGEST_RETRY_S: Final = 30.0


class DiskState(Enum):
    WORKING = auto()
    """Nothing is sent before it is stored."""
    NOT_WRITABLE = auto()
    """What cannot be stored is sent from memory, after what is stored and can still be read."""
    NOT_READABLE = auto()
    """The disk fails or does not answer: only what is in memory can be sent."""


class DiskHealth:
    """Changed by what becomes of each attempt to read or write."""

    def __init__(self, first_retry_s: float) -> None:
        self._first_retry_s = self._retry_s = first_retry_s
        self._state = DiskState.WORKING
        self._error: str | None = None
        self._retry_at = -math.inf

    @property
    def state(self) -> DiskState:
        return self._state

    @property
    def error(self) -> str | None:
        """What is wrong; None if nothing is."""
        return self._error

    @property
    def retry_at(self) -> float | None:
        """When the disk is to be tried again, on the clock of whoever reports; None if it works."""
        return None if self._error is None else self._retry_at

    def failed(self, error: str, now: float, *, readable: bool) -> bool:
        """An attempt failed, or has not come back yet; whether that is news."""
        news = self._error is None
        self._error = error
        self._retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
        if not readable:
            self._state = DiskState.NOT_READABLE
        elif news:
            self._state = DiskState.NOT_WRITABLE
        return news

    def works(self) -> bool:
        """Something was stored; whether that is news."""
        news = self._error is not None
        self._state, self._error = DiskState.WORKING, None
        self._retry_s, self._retry_at = self._first_retry_s, -math.inf
        return news
