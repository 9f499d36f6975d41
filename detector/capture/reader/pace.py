"""How fast sound comes, beside how fast time goes."""

from collections.abc import Callable
from typing import Final

AHEAD_S: Final = 5.0
"""How much sound may come ahead of its time, as after a connection. The ring holds eleven seconds,
and who hears it must have time to."""
_BURST_S: Final = 1.5
_WATCH_S: Final = 10.0
_PAUSE_S: Final = 2.0
_TOO_SLOW: Final = 0.9
"""Seconds of sound a second. A sound card is wrong by a ten-thousandth."""


class Pace:
    """A bucket that leaks at the speed of time: whoever fills it beyond `AHEAD_S` has to wait.

    Who sends a recording is so heard at the pace at which it was made, and nothing of it is lost.
    """

    def __init__(self, rate: int, say: Callable[[str], None]) -> None:
        """Args: rate: Hertz; say: is told, once each, that the sound is too fast or too slow."""
        self._rate, self._say = rate, say
        self._ahead_s = 0.0
        self._began_s: float | None = None
        self._at_s = self._watched_from_s = 0.0
        self._frames = self._watched = 0
        self._said_fast = self._said_slow = False

    @property
    def is_ahead(self) -> bool:
        """Whether more has come than a large buffer explains."""
        return self._ahead_s > _BURST_S

    def wait_s(self, frames: int, now_s: float) -> float:
        """How long to wait before more than these frames is read.

        Args:
            frames: how many have come now.
            now_s: seconds on a clock that goes on evenly.
        """
        if self._began_s is None:  # what comes first was made before
            self._began_s = self._at_s = self._watched_from_s = now_s
            self._ahead_s = frames / self._rate
            return 0.0
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        self._ahead_s = max(0.0, self._ahead_s - elapsed_s) + frames / self._rate
        self._frames += frames
        if elapsed_s > _PAUSE_S:  # a pause is a gap, and says nothing of the rate
            self._watched, self._watched_from_s = 0, now_s
        else:
            self._watch(frames, now_s)
        wait_s = self._ahead_s - AHEAD_S
        if wait_s > 0 and not self._said_fast:
            self._said_fast = True
            came = self._frames / self._rate / max(now_s - self._began_s, 1e-3)
            self._say(
                f"sound comes {came:.1f} times as fast as it is to be heard at {self._rate} Hz: "
                "the writer is made to wait; if it is live, its rate is not what was said"
            )
        return max(0.0, wait_s)

    def _watch(self, frames: int, now_s: float) -> None:
        """Look whether too little comes."""
        watched_s = now_s - self._watched_from_s
        self._watched += frames
        if watched_s < _WATCH_S:
            return
        came = self._watched / self._rate / watched_s
        if came < _TOO_SLOW and not self._said_slow:
            self._said_slow = True
            self._say(
                f"only {came:.2f} s of sound come in a second: the writer is too slow, or its rate "
                f"is not {self._rate} Hz; what is missing is a gap"
            )
        self._watched, self._watched_from_s = 0, now_s
