"""Events and gaps that wait for the broker, oldest first.

Each gets a ticket, a number that only grows. A message stays until it is removed by its ticket,
which happens when the broker has confirmed it; a sender keeps its place by the last ticket it has
sent, so what was sent but not confirmed is found again after a reconnection.
"""

from collections import OrderedDict
from dataclasses import dataclass

from detector.publish.messages import EventMessage, GapMessage


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the outbox."""

    ticket: int
    message: EventMessage | GapMessage
    since: float
    """Seconds, on the clock of whoever put it in."""


class MemoryOutbox:
    """Holds at most `capacity` messages: when full, the oldest is dropped and counted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()
        self._last_ticket = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        """Messages lost because the outbox was full."""
        return self._dropped

    def put(self, message: EventMessage | GapMessage, now: float) -> Waiting | None:
        """Add a message; returns the one that had to go for it, if any."""
        self._last_ticket += 1
        self._waiting[self._last_ticket] = Waiting(self._last_ticket, message, now)
        if len(self._waiting) <= self._capacity:
            return None
        self._dropped += 1
        return self._waiting.popitem(last=False)[1]

    def after(self, ticket: int) -> Waiting | None:
        """The oldest message with a ticket above `ticket`."""
        if ticket >= self._last_ticket or not self._waiting:
            return None
        oldest = next(iter(self._waiting))
        # Tickets leave from the front, give or take those the broker confirms out of order.
        for candidate in range(max(oldest, ticket + 1), self._last_ticket + 1):
            if candidate in self._waiting:
                return self._waiting[candidate]
        return None

    def remove(self, ticket: int) -> bool:
        """Forget a message; False if it had been dropped before."""
        return self._waiting.pop(ticket, None) is not None
