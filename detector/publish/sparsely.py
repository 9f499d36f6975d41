"""Logging of things that go on happening, in a service that runs for months."""

from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger()


class SparseLog:
    """Says a thing once, then at debug level, with a reminder now and then.

    Two things are the same if their `cause` is; there are only as many causes as code and topics
    make, so what is kept here is bounded.
    """

    REMINDER_S: Final = 600.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, level: str, cause: str, message: str, **fields: Any) -> None:  # noqa: ANN401
        """Log `message` at `level`, or at debug if the cause was given less than 600 s ago."""
        now = self._clock()
        said_at, unsaid = self._said.get(cause, (None, 0))
        if said_at is not None and now - said_at < self.REMINDER_S:
            self._said[cause] = said_at, unsaid + 1
            log.debug(message, **fields)
            return
        self._said[cause] = now, 0
        if unsaid:
            fields["times_since_last_said"] = unsaid + 1
        getattr(log, level)(message, **fields)

    def forget(self, *causes: str) -> None:
        """What had these causes is over: if it comes back, it is news again."""
        for cause in causes:
            self._said.pop(cause, None)
