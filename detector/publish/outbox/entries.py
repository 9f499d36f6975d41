"""Messages that wait for the broker, and a queue of them that is bounded."""

import json
from collections import OrderedDict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final, Self

from detector.publish.messages import EventMessage, GapMessage

_OVERHEAD: Final = 100
"""Bytes of an entry besides its body, in round figures."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
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


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message in the outbox."""

    ticket: int
    message: QueuedMessage
    since: float
    """Seconds, on the clock of whoever put it in; -inf if this machine has been started since."""


class BoundedQueue:
    """Entries in memory, oldest first, bounded in number and in bytes."""

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._entries: OrderedDict[int, OutboxEntry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._entries

    def __iter__(self) -> Iterator[OutboxEntry]:
        return iter(self._entries.values())

    @property
    def excess(self) -> OutboxEntry | None:
        """The oldest, if it has to go to keep the bounds. The only one may be of any size."""
        if len(self._entries) > self._capacity or (
            self._bytes > self._capacity_bytes and len(self._entries) > 1
        ):
            return next(iter(self))
        return None

    def put(self, entry: OutboxEntry) -> None:
        self._entries[entry.ticket] = entry
        self._bytes += entry.message.size

    def pop(self, ticket: int) -> OutboxEntry | None:
        if (entry := self._entries.pop(ticket, None)) is not None:
            self._bytes -= entry.message.size
        return entry

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def oldest(self, besides: Container[object]) -> OutboxEntry | None:
        # Those on their way are few, and the oldest.
        return next((e for t, e in self._entries.items() if t not in besides), None)
