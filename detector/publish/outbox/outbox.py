"""Events and gaps that wait for the broker, oldest first.

Each gets a ticket, a number that only grows. It stays until it is removed by its ticket, which
happens when the broker has confirmed it, or until it is moved to the dead letters, because the
broker will never take it. Whoever sends knows which tickets are on their way.
"""

from collections.abc import Collection, Container
from datetime import datetime
from typing import Protocol

from detector.publish.messages import EventMessage, GapMessage
from detector.publish.outbox.entries import OutboxEntry
from detector.publish.previous_run import PreviousRun
from detector.stats import DeliveryStats


class OutboxListener(Protocol):
    """Who is told, in the event loop, of what happens in an outbox without being asked for."""

    def outbox_changed(self) -> None:
        """There may be something to send that there was not, or less may wait."""

    def outbox_dropped(self) -> None:
        """Events or gaps were dropped because too many waited."""

    def outbox_loaded(self) -> None:
        """What an earlier run left is known now, and was not at the start: the disk was late."""


class NoListener:
    """For an outbox that nobody listens to."""

    def outbox_changed(self) -> None:
        pass

    def outbox_dropped(self) -> None:
        pass

    def outbox_loaded(self) -> None:
        pass


class Outbox(Protocol):
    """What a publisher needs of an outbox. All but `__len__` of what it holds is bounded."""

    listener: OutboxListener

    def __len__(self) -> int:
        """How many wait, those on their way included."""

    @property
    def dropped(self) -> int:
        """Events and gaps lost because too many waited."""

    @property
    def rejected(self) -> int:
        """Events and gaps that became dead letters."""

    @property
    def previous_run(self) -> PreviousRun:
        """How the run of the service before this one ended."""

    def sequence(self, source: str) -> int:
        """The number of the last event of a source; 0 if there was none."""

    def put(self, message: EventMessage | GapMessage, now: float) -> None:
        """Add a message; if there is no room for it the oldest has to go."""

    def set_heard_until(self, source: str, until: datetime) -> None:
        """Sound of a source was heard until then (UTC). A run that is killed knows it to 30 s."""

    def oldest(self, besides: Container[object] = ()) -> OutboxEntry | None:
        """The oldest that may be sent and whose ticket is not one of `besides`."""

    def remove(self, ticket: int) -> None:
        """Forget what was delivered."""

    def reject(self, entry: OutboxEntry, topic: str, reason: str) -> None:
        """Make it a dead letter."""

    def stats(self) -> DeliveryStats:
        """What waits and what was lost, as far as the outbox knows."""

    @property
    def retained_topics(self) -> Collection[str]:
        """Topics at which the broker may hold a value of this node, also from earlier runs."""

    def add_retained_topic(self, topic: str) -> None: ...

    def discard_retained_topic(self, topic: str) -> None:
        """The broker holds nothing there any more."""
