"""Notices that a capture program delivers nothing, and gives it up after a while."""

import asyncio
from collections.abc import Callable
from typing import Final

from detector.capture.programs.program import CaptureProgram
from detector.capture.timeline import STALL_S

WAKE_S: Final = 0.1
"""How long, before a device is called stalled, what came while this process itself slept can be
read."""


class StallWatch:
    """Of one run of a program."""

    def __init__(
        self, program: CaptureProgram, deadline: asyncio.Timeout, pause: Callable[[], None]
    ) -> None:
        """Begin.

        Args:
            program: what runs.
            deadline: ends it.
            pause: is called when it has stalled.
        """
        self.delivered_s = 0.0
        """How long it has delivered sound."""
        self._program, self._deadline, self._pause = program, deadline, pause
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._first_block_s: float | None = None

    def opening(self) -> None:
        """Sound is to come soon."""
        self.stop()
        self._deadline.reschedule(self._loop.time() + self._program.open_s)

    def alive(self) -> None:
        """Some has come, or has good reason not to."""
        self.stop()
        now_s = self._loop.time()
        self._timer = self._loop.call_later(STALL_S - WAKE_S, self._read_backlog_before_pause)
        self._deadline.reschedule(now_s + STALL_S + self._program.give_up_s)
        self._first_block_s = self._first_block_s or now_s
        self.delivered_s = now_s - self._first_block_s

    def offline(self) -> None:
        """The program says that there is none for now."""
        self.stop()
        self._deadline.reschedule(None)
        self._first_block_s, self.delivered_s = None, 0.0

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _read_backlog_before_pause(self) -> None:
        self._timer = self._loop.call_later(WAKE_S, self._pause)
