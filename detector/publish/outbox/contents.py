"""What is in an outbox: on the disk, in memory, and on the way from the one to the other.

Everything that a `DurableOutbox` must remember and decide, without disk, clock or task. An entry
goes through these places:

    unsaved   in memory alone, until it is stored
    ready     stored, and in memory to be sent: the oldest of what is stored
    stored    on the disk alone, to be loaded when little is ready
    removed   delivered, dropped or refused, and to be deleted from the disk

Whoever writes takes `changes()`, has them stored, and reports it with `written()`; meanwhile all
else may go on.
"""

from collections import OrderedDict
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import structlog
from pydantic import ValidationError

from detector.publish.messages import EventMessage, GapMessage
from detector.publish.outbox.changes import (
    Applied,
    Counts,
    DeadLetter,
    Loaded,
    PendingChanges,
    StoredState,
)
from detector.publish.outbox.disk_health import DiskState
from detector.publish.outbox.entries import BoundedQueue, OutboxEntry, QueuedMessage
from detector.publish.outbox.stored_mapping import StoredMapping
from detector.publish.outbox.watermark import Watermark
from detector.publish.previous_run import PreviousRun

log = structlog.get_logger()

READY: Final = 1024
"""How many are held in memory, ready to be sent."""
_ADDED_AT_ONCE: Final = 1000
"""At most so many are added in one transaction."""
DEAD_AT_ONCE: Final = 1000
OPEN_EVENTS: Final = 256
"""Of more events that are going on at a time, only the newest are known to the next run."""
PROVISIONAL: Final = 2**62
"""Tickets given out before it is known which are taken."""


class OutboxContents:
    """Bounded as on the disk: `capacity` entries of `capacity_bytes` in memory, too."""

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self.unsaved = BoundedQueue(capacity, capacity_bytes)
        self.ready: OrderedDict[int, OutboxEntry] = OrderedDict()
        self.counts = Counts()
        self.opened = False
        """Whether it is known what the file holds."""
        self.retained_topics, self.open_events = StoredMapping(), StoredMapping()
        self.previous_run = PreviousRun()
        self.heard_until: dict[str, float] = {}
        """Seconds since 1970, UTC, by source."""
        self.heard_written = True
        self.sequences: dict[str, int] = {}
        # The newest ticket that was ready at some time; in a damaged file they can be anything.
        self._loaded_to = -(2**63)
        self._last_ticket = 0
        self._writing: Collection[int] = ()  # what is being stored
        self._removed_meanwhile: set[int] = set()  # of those, what is to be removed again
        self._removed: set[int] = set()
        self._dead: OrderedDict[int, DeadLetter] = OrderedDict()
        # Not in the file's counters yet.
        self._unsaved_dropped = self._unsaved_rejected = self._lost = 0
        # What was put in before the file could be read had these tickets, and then got others.
        self._provisional_to, self._renumbered_from = 0, 0

    # -- what a publisher sees -------------------------------------------------------------------

    def __len__(self) -> int:
        return max(0, self.counts.waiting - len(self._removed)) + len(self.unsaved)

    @property
    def dropped(self) -> int:
        return self.counts.dropped + self._unsaved_dropped

    @property
    def rejected(self) -> int:
        return self.counts.rejected + len(self._dead) + self._unsaved_rejected

    @property
    def dead_letters(self) -> int:
        return self.counts.dead + len(self._dead)

    @property
    def lost(self) -> int:
        return self.counts.lost + self._lost

    def put(self, message: EventMessage | GapMessage, now: float) -> int:
        """Add a message; how many had to go for it."""
        queued = QueuedMessage.of(message)
        self._last_ticket += 1
        if isinstance(message, EventMessage):
            self.sequences[message.source] = message.sequence
            self._note_open(message, queued.body)
        self.unsaved.put(OutboxEntry(self._last_ticket, queued, now))
        dropped = 0
        while (excess := self.unsaved.excess) is not None:
            self.remove(excess.ticket)
            dropped += 1
        self._unsaved_dropped += dropped
        return dropped

    def _note_open(self, event: EventMessage, body: str) -> None:
        if event.type == "end":
            self.open_events.discard(f"{event.id}")
            return
        self.open_events.put(f"{event.id}", body)
        if len(self.open_events.values) > OPEN_EVENTS:
            self.open_events.discard(next(iter(self.open_events.values)))

    def oldest(self, besides: Container[object], disk: DiskState) -> OutboxEntry | None:
        """The oldest that may be sent, as the disk is."""
        # Those on their way are few, and the oldest.
        for ticket, entry in self.ready.items():
            if ticket not in besides:
                return entry
        if disk is DiskState.WORKING or (self.more_stored and disk is DiskState.NOT_WRITABLE):
            return None
        return self.unsaved.oldest(besides)

    def remove(self, ticket: int) -> None:
        ticket = self.renumbered(ticket)
        if self.unsaved.pop(ticket) is not None:
            if ticket in self._writing:
                self._removed_meanwhile.add(ticket)
        else:
            self.ready.pop(ticket, None)
            self._removed.add(ticket)

    def reject(self, letter: DeadLetter) -> bool:
        """Make an entry a dead letter; whether one is lost for it, for the first time."""
        ticket = self.renumbered(letter.ticket)
        self._dead[ticket] = replace(letter, ticket=ticket)
        full = len(self._dead) > DEAD_AT_ONCE
        if full:
            self._dead.popitem(last=False)
            self._unsaved_rejected += 1
        self.remove(ticket)
        return full and self._unsaved_rejected == 1

    # -- the file is opened ----------------------------------------------------------------------

    def go_on_from(self, watermark: Watermark) -> None:
        """Use no ticket and no sequence number that an earlier run has used."""
        self._last_ticket = max(self._last_ticket, watermark.ticket)
        for source, last in watermark.sequences.items():
            self.sequences[source] = max(last, self.sequences.get(source, 0))
        self._set_previous_run(self.previous_run.open_events, watermark.heard_until)
        self.heard_until = {**watermark.heard_until, **self.heard_until}

    def _set_previous_run(
        self, open_events: Sequence[EventMessage], heard_until: Mapping[str, float]
    ) -> None:
        moments = {}
        for source, seconds in heard_until.items():
            try:
                moments[source] = datetime.fromtimestamp(seconds, UTC)
            except (ValueError, OverflowError, OSError):  # damaged, or a clock far off
                continue
        self.previous_run = PreviousRun(open_events, moments)

    def load_state(self, stored: StoredState) -> None:
        """The file was opened: go on where an earlier run ended."""
        self.opened = True
        self.counts = stored.counts
        self._lost = stored.lost
        self.retained_topics.loaded(dict.fromkeys(stored.retained_topics, ""))
        # What came before the file could be read is newer than all that is in it. Of these, what
        # is on its way now is sent twice.
        self._provisional_to, self._renumbered_from = self._last_ticket, stored.watermark.ticket
        self._last_ticket = self.renumbered(self._last_ticket)
        self.go_on_from(stored.watermark)
        unsaved = list(self.unsaved)
        self.unsaved.clear()
        for entry in unsaved:
            self.unsaved.put(replace(entry, ticket=self.renumbered(entry.ticket)))
        dead = (replace(x, ticket=self.renumbered(x.ticket)) for x in self._dead.values())
        self._dead = OrderedDict((letter.ticket, letter) for letter in dead)
        self._removed = {self.renumbered(ticket) for ticket in self._removed}
        self.open_events.loaded(stored.open_events)
        self._set_previous_run(self._parsed(stored.open_events), stored.watermark.heard_until)

    def _parsed(self, bodies: Mapping[str, str]) -> list[EventMessage]:
        events = []
        for key, body in bodies.items():
            try:
                events.append(EventMessage.model_validate_json(body))
            except ValidationError as error:
                log.warning("an event that did not end is not understood", error=f"{error}")
                self.open_events.discard(key)
        return events

    def renumbered(self, ticket: int) -> int:
        """The ticket in the file of what came before the file could be read."""
        if PROVISIONAL <= ticket <= self._provisional_to:
            return ticket - PROVISIONAL + self._renumbered_from
        return ticket

    # -- entries are loaded ----------------------------------------------------------------------

    @property
    def more_stored(self) -> bool:
        """Whether there are entries on the disk that have yet to be loaded."""
        return self.opened and self._loaded_to < self.counts.newest

    @property
    def to_load(self) -> tuple[int, int]:
        """The ticket after which to load, and how many."""
        return self._loaded_to, READY - len(self.ready)

    def load(self, loaded: Loaded) -> None:
        self.counts = loaded.counts
        for entry in loaded.entries:
            self._loaded_to = entry.ticket
            if entry.ticket not in self._removed:
                self.ready[entry.ticket] = entry
        if not loaded.entries:
            self._loaded_to = max(self._loaded_to, loaded.counts.newest)

    # -- changes are written ---------------------------------------------------------------------

    @property
    def watermark(self) -> Watermark:
        return Watermark(self._last_ticket, dict(self.sequences), dict(self.heard_until))

    @property
    def changed(self) -> bool:
        """Whether anything but the time until which sources were heard has changed."""
        return any(
            (
                *(self.unsaved, self._removed, self._dead, self.retained_topics),
                *(self.open_events, self._lost, self._unsaved_dropped, self._unsaved_rejected),
            )
        )

    def changes(self) -> PendingChanges:
        """What the file does not hold yet."""
        added = list(islice(self.unsaved, _ADDED_AT_ONCE))
        self._writing = {entry.ticket for entry in added}
        self.heard_written = True
        return PendingChanges(
            added=added,
            removed=list(self._removed),
            dead=list(self._dead.values()),
            retained_topics=self.retained_topics.changes(),
            open_events=self.open_events.changes(),
            dropped=self._unsaved_dropped,
            rejected=self._unsaved_rejected,
            lost=self._lost,
            unstored=len(self.unsaved),
            watermark=self.watermark,
        )

    def not_written(self) -> None:
        """The changes could not be stored."""
        self._writing = ()
        self._removed_meanwhile.clear()

    def written(self, changes: PendingChanges, applied: Applied) -> None:
        """The changes are stored."""
        in_order = not self.more_stored
        self.counts = applied.counts
        self._removed.difference_update(changes.removed)
        self._removed |= self._removed_meanwhile
        # Some had been delivered, refused or dropped meanwhile, and so are counted.
        counted = self._removed & set(applied.dropped)
        self._removed -= counted
        self._unsaved_dropped -= changes.dropped + len(counted)
        self._unsaved_rejected -= changes.rejected
        self._lost -= changes.lost
        self.not_written()
        self._make_ready(changes.added, in_order=in_order)
        for ticket in applied.dropped:
            self.ready.pop(ticket, None)
        for letter in changes.dead:
            if self._dead.pop(letter.ticket, None) is None:
                self._unsaved_rejected -= 1  # deleted meanwhile, and counted twice
        self.retained_topics.written(changes.retained_topics)
        self.open_events.written(changes.open_events)

    def _make_ready(self, added: Sequence[OutboxEntry], *, in_order: bool) -> None:
        """What is stored may be sent, unless older ones have yet to be read."""
        for entry in added:
            if self.unsaved.pop(entry.ticket) is None:
                continue  # not wanted any more
            if in_order and len(self.ready) < READY:
                self.ready[entry.ticket] = entry
                self._loaded_to = entry.ticket
            else:
                in_order = False
