"""What goes to the outbox on disk, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from detector.publish.outbox.entries import OutboxEntry
from detector.publish.outbox.stored_mapping import NO_CHANGES, MappingChanges
from detector.publish.outbox.watermark import Watermark


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the broker will never take."""

    ticket: int
    topic: str
    reason: str
    at: str
    """RFC 3339, UTC."""
    body: str


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """Changes that become durable together, or not at all.

    What failed may be applied again. If it had reached the disk all the same, as can be found
    out when the file is opened anew, then what waits is right, and so are the dead letters; only
    `dropped`, `rejected` and `lost` are counted twice.
    """

    added: Sequence[OutboxEntry] = ()
    removed: Sequence[int] = ()
    dead: Sequence[DeadLetter] = ()
    retained_topics: MappingChanges = NO_CHANGES
    open_events: MappingChanges = NO_CHANGES
    """The last message of each, by its id."""
    dropped: int = 0
    """How many were never added, for want of room; below 0, how many were counted twice."""
    rejected: int = 0
    """How many dead letters were never added, for want of room."""
    lost: int = 0
    """How many the disk has lost."""
    unstored: int = 0
    """How many wait in memory alone, those that are added included."""
    watermark: Watermark = field(default_factory=Watermark)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in the file."""

    waiting: int = 0
    newest: int = 0
    """Ticket of the newest that waits; 0 if none does."""
    dead: int = 0
    dropped: int = 0
    rejected: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    counts: Counts
    dropped: Sequence[int]
    """Tickets of those that had to go to keep the bounds."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Entries that were read."""

    entries: Sequence[OutboxEntry]
    counts: Counts


@dataclass(frozen=True, slots=True)
class StoredState:
    """What was found when the file was opened, but for the entries."""

    counts: Counts
    watermark: Watermark
    retained_topics: Sequence[str]
    open_events: Mapping[str, str]
    """The last message of each, by its id."""
    lost: int
    """Tickets given out of which the file knows nothing: it is older than it should be."""
