"""The outbox that ends with its process."""

from collections.abc import Collection, Container
from datetime import datetime

from detector.publish.messages import EventMessage, GapMessage
from detector.publish.outbox.entries import BoundedQueue, OutboxEntry, QueuedMessage
from detector.publish.outbox.outbox import NoListener, OutboxListener
from detector.publish.previous_run import PreviousRun
from detector.stats import DeliveryStats


class MemoryOutbox:
    """An outbox as `Outbox` describes, bounded in number and in bytes."""

    def __init__(self, capacity: int, capacity_bytes: int = 2**63) -> None:
        self._queue = BoundedQueue(capacity, capacity_bytes)
        self._last_ticket = 0
        self._dropped = self._rejected = 0
        self._retained_topics: dict[str, None] = {}
        self._sequences: dict[str, int] = {}
        self.listener: OutboxListener = NoListener()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def rejected(self) -> int:
        return self._rejected

    @property
    def previous_run(self) -> PreviousRun:
        return PreviousRun()

    def sequence(self, source: str) -> int:
        return self._sequences.get(source, 0)

    def put(self, message: EventMessage | GapMessage, now: float) -> None:
        self._last_ticket += 1
        queued = QueuedMessage.of(message)
        if queued.sequence:
            self._sequences[queued.source] = queued.sequence
        self._queue.put(OutboxEntry(self._last_ticket, queued, now))
        while (excess := self._queue.excess) is not None:
            self._queue.pop(excess.ticket)
            self._dropped += 1
            self.listener.outbox_dropped()

    def set_heard_until(self, source: str, until: datetime) -> None:
        """There is no later run to know it."""

    def oldest(self, besides: Container[object] = ()) -> OutboxEntry | None:
        return self._queue.oldest(besides)

    def remove(self, ticket: int) -> None:
        self._queue.pop(ticket)

    def reject(self, entry: OutboxEntry, topic: str, reason: str) -> None:  # noqa: ARG002
        self._rejected += entry.ticket in self._queue  # else it was dropped, and counted
        self.remove(entry.ticket)

    def stats(self) -> DeliveryStats:
        return DeliveryStats(
            queued_events=len(self),
            dropped_events=self._dropped,
            rejected_events=self._rejected,
            unstored_events=len(self),
        )

    @property
    def retained_topics(self) -> Collection[str]:
        return self._retained_topics

    def add_retained_topic(self, topic: str) -> None:
        self._retained_topics[topic] = None

    def discard_retained_topic(self, topic: str) -> None:
        self._retained_topics.pop(topic, None)
