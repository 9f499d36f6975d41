"""Where in a recording each frame belongs, by its time stamps: what is absent between two is told.

A recorder that loses sound, or a stream that is interrupted, shows it in no other way.
"""

from typing import Final

TOLERANCE_S: Final = 0.015
"""Containers round time stamps to a millisecond or so. Hardly a frame of any codec is shorter."""
LOOSE_TOLERANCE_S: Final = 0.12
"""Where the length of frames varies, time stamps are only right once a page (Vorbis)."""
_SMALLEST_S: Final = 0.0005
_ABSURD_S: Final = 86_400.0
"""A jump by a day or more is a damaged time stamp."""


class Timeline:
    """Compares each frame's time stamp with the end of the frame before it.

    Only jumps count: a recorder whose clock runs fast or slow against the sound card's makes time
    stamps drift, and no sound is absent for that.
    """

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_s = tolerance_s
        self._due_s: float | None = None
        self.begin_s = 0.0
        """The first frame's time stamp."""

    def begin(self) -> None:
        """Count what is absent before the first frame from time 0 on."""
        if self._due_s is None:
            self._due_s = 0.0

    def absent_s(self, at_s: float | None, duration_s: float, *, damaged: bool) -> float:
        """Take a frame, and tell how much is absent before it.

        Args:
            at_s: its time stamp in seconds, if it has one.
            duration_s: how long it is.
            damaged: whether something could not be decoded since the last one, so that even a
                small jump tells of it.
        """
        due_s = self._due_s
        if due_s is None:
            due_s = self.begin_s = at_s or 0.0
        if at_s is None:
            at_s = due_s
        self._due_s = at_s + duration_s
        jump = at_s - due_s
        smallest = _SMALLEST_S if damaged else self._tolerance_s
        return jump if smallest < jump < _ABSURD_S else 0.0

    def until(self, end_s: float) -> float:
        """How much is absent between the last frame and the end of the last packet."""
        left_s = end_s - (self._due_s or 0.0)
        return left_s if _SMALLEST_S < left_s < _ABSURD_S else 0.0
