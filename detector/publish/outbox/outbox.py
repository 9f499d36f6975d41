"""Events and gaps that wait for the broker, oldest first.

Each gets a ticket, a number that only grows. It stays until it is removed by its ticket, which
happens when the broker has confirmed it, or until it is moved to the dead letters, because the
broker will never take it. Whoever sends knows which tickets are on their way.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

from detector.publish.messages import EventMessage, GapMessage
from detector.stats import DeliveryStats


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it will be sent, and what is needed to address it."""

    node: str
    source: str
    label: str | None
    """None: it is a gap."""
    sequence: int
    """0: it is a gap."""
    body: str
    """JSON."""

    @classmethod
    def of(cls, message: EventMessage | GapMessage) -> Self:
        if isinstance(message, EventMessage):
            label, sequence = message.label, message.sequence
        else:
            label, sequence = None, 0
        return cls(message.node, message.source, label, sequence, message.to_json())

    @property
    def size(self) -> int:
        """Bytes, of which all but the body are counted in round figures."""
        return len(self.body.encode()) + _OVERHEAD

    def as_late(self) -> str:
        """The body of an event that waited long."""
        if self.label is None:
            return self.body
        values = json.loads(self.body) | {"late": True}
        return json.dumps(values, ensure_ascii=False, separators=(", ", ": "))


_OVERHEAD: Final = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter in the outbox."""

    ticket: int
    letter: Letter
    since: float
    """Seconds, on the clock of whoever put it in; -inf if this machine has been started since."""


class Outbox(Protocol):
    """What a publisher needs of an outbox. All but `__len__` of what it holds is bounded."""

    on_change: Callable[[], None]
    """Called, in the event loop, when something has changed that nobody has asked for."""
    on_drop: Callable[[], None]
    """Called, in the event loop, when events or gaps were dropped because too many waited."""
    on_begun: Callable[[], None]
    """Called, in the event loop, when `told` is known that was not, since the disk was late."""

    def __len__(self) -> int:
        """How many wait, those on their way included."""

    @property
    def dropped(self) -> int:
        """Events and gaps lost because too many waited."""

    @property
    def rejected(self) -> int:
        """Events and gaps that became dead letters."""

    def sequence(self, source: str) -> int:
        """The number of the last event of a source; 0 if there was none."""

    def put(self, message: EventMessage | GapMessage, now: float) -> None:
        """Add a message; if there is no room for it the oldest has to go."""

    def oldest(self, besides: Container[object] = ()) -> Waiting | None:
        """The oldest that may be sent and whose ticket is not one of `besides`."""

    def remove(self, ticket: int) -> None:
        """Forget what was delivered."""

    def reject(self, waiting: Waiting, topic: str, reason: str) -> None:
        """Make it a dead letter."""

    def stats(self) -> DeliveryStats:
        """What waits and what was lost, as far as the outbox knows."""

    @property
    def told(self) -> Collection[str]:
        """Retained topics that the broker may hold from an earlier life."""

    def remember(self, topic: str) -> None:
        """Add a retained topic."""

    def forget(self, topic: str) -> None:
        """The broker holds nothing there any more."""


class Shelf:
    """Holds letters in memory, oldest first, bounded in number and in bytes."""

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._waiting

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    @property
    def excess(self) -> Waiting | None:
        """The oldest, if it has to go to keep the bounds. The only one may be of any size."""
        if len(self._waiting) > self._capacity or (
            self._bytes > self._capacity_bytes and len(self._waiting) > 1
        ):
            return next(iter(self))
        return None

    def put(self, waiting: Waiting) -> None:
        self._waiting[waiting.ticket] = waiting
        self._bytes += waiting.letter.size

    def pop(self, ticket: int) -> Waiting | None:
        if (waiting := self._waiting.pop(ticket, None)) is not None:
            self._bytes -= waiting.letter.size
        return waiting

    def oldest(self, besides: Container[object]) -> Waiting | None:
        # Those on their way are few, and the oldest.
        return next((w for t, w in self._waiting.items() if t not in besides), None)


class MemoryOutbox:
    """Holds what a process can: all is lost with it. Bounded in number and in bytes."""

    def __init__(self, capacity: int, capacity_bytes: int = 2**63) -> None:
        self._waiting = Shelf(capacity, capacity_bytes)
        self._last_ticket = 0
        self._dropped = self._rejected = 0
        self._told: dict[str, None] = {}
        self._sequences: dict[str, int] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.on_drop: Callable[[], None] = lambda: None
        self.on_begun: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def rejected(self) -> int:
        return self._rejected

    def sequence(self, source: str) -> int:
        return self._sequences.get(source, 0)

    def put(self, message: EventMessage | GapMessage, now: float) -> None:
        self._last_ticket += 1
        letter = Letter.of(message)
        if letter.sequence:
            self._sequences[letter.source] = letter.sequence
        self._waiting.put(Waiting(self._last_ticket, letter, now))
        while (excess := self._waiting.excess) is not None:
            self._waiting.pop(excess.ticket)
            self._dropped += 1
            self.on_drop()

    def oldest(self, besides: Container[object] = ()) -> Waiting | None:
        return self._waiting.oldest(besides)

    def remove(self, ticket: int) -> None:
        self._waiting.pop(ticket)

    def reject(self, waiting: Waiting, topic: str, reason: str) -> None:  # noqa: ARG002
        self._rejected += waiting.ticket in self._waiting  # else it was dropped, and counted
        self.remove(waiting.ticket)

    def stats(self) -> DeliveryStats:
        return DeliveryStats(
            queued_events=len(self),
            dropped_events=self._dropped,
            rejected_events=self._rejected,
            unstored_events=len(self),
        )

    @property
    def told(self) -> Collection[str]:
        return self._told

    def remember(self, topic: str) -> None:
        self._told[topic] = None

    def forget(self, topic: str) -> None:
        self._told.pop(topic, None)
