"""Logging of things that go on happening, in a service that runs for months."""

from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger()


class RateLimitedLog:
    """Says a thing once, then at debug level, with a reminder now and then.

    Two things are the same if their `cause` is. Of the causes, which may be as many as there are
    topics, only the last thousand are known.
    """

    REMINDER_S: Final = 600.0
    _MOST: Final = 1000

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
        self._said.pop(cause, None)
        self._said[cause] = now, 0
        if len(self._said) > self._MOST:
            del self._said[next(iter(self._said))]
        if unsaid:
            fields["times_since_last_said"] = unsaid + 1
        getattr(log, level)(message, **fields)

    def forget(self, *causes: str) -> None:
        """What had these causes is over: if it comes back, it is news again."""
        for cause in causes:
            self._said.pop(cause, None)
