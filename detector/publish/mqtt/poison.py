"""Which message it is on which the broker hangs up, time and again.

Some brokers say neither what they accept nor why they close the connection. What was not confirmed
is sent again over the next connection, so such a message would end every one of them, and nothing
that comes after it would ever be delivered.
"""

from collections.abc import Collection
from typing import Final

Key = int | str
"""The ticket of an event, or the topic of a retained value."""


class PoisonDetector:
    """Suspects the oldest of what was not confirmed when a connection was lost.

    Events leave the outbox as they are confirmed, so the oldest soon is the one. Retained values
    are all sent anew over each connection, and many at a time: so after two losses in a row one
    message is sent at a time (`cautious`), and then there is no doubt.
    """

    _CAUTIOUS_AFTER: Final = 2
    POISON_AFTER: Final = 5
    """Connections lost in a row, the last ones with this message alone on its way."""

    def __init__(self) -> None:
        self._in_flight: dict[Key, None] = {}
        self._refused: str | None = None
        self._suspect: Key | None = None
        self._losses = 0

    @property
    def in_flight(self) -> Collection[Key]:
        """What was sent over this connection and is not confirmed, in this order."""
        return self._in_flight.keys()

    @property
    def cautious(self) -> bool:
        """Whether each message must be confirmed before the next one is sent."""
        return self._losses >= self._CAUTIOUS_AFTER

    def connected(self) -> None:
        """Nothing is on its way yet."""
        self._in_flight.clear()
        self._refused = None

    def sent(self, key: Key) -> None:
        self._in_flight[key] = None

    def settled(self, key: Key, *, refused: bool = False) -> None:
        """The broker has answered; it may refuse a message and then hang up on it all the same."""
        self._in_flight.pop(key, None)
        # An event that was refused is not sent again.
        self._refused = key if refused and isinstance(key, str) else None

    def lost(self) -> Key | None:
        """The connection was lost with all that is in flight; what the broker cannot stand."""
        oldest = self._refused or next(iter(self._in_flight), None)
        if oldest is None:
            return None
        if oldest == self._suspect:
            self._losses += 1
        elif self.cautious:  # it was alone, so it is none of those before
            self._losses = self._CAUTIOUS_AFTER + 1
        elif isinstance(oldest, str) or isinstance(self._suspect, str):
            self._losses += 1
        else:
            self._losses = 1
        self._suspect = oldest
        if self._losses < self.POISON_AFTER:
            return None
        self.cleared()
        return oldest

    def cleared(self) -> None:
        """Nobody is suspected: there was progress since the last loss."""
        self._suspect, self._losses = None, 0

    def suspects(self, key: Key) -> bool:
        return self._suspect == key
