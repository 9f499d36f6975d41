"""The tables of the outbox on disk, and what is done with them within a transaction.

    waiting      what the broker has not confirmed          bounded in rows and bytes
    dead         what the broker will never take, and why   bounded likewise
    told         retained topics that the broker may hold
    open_events  of each event that has not ended, the last message
    sequences    the last sequence number of each source, written together with the event
    counters     the newest ticket, and what was dropped and rejected since the file was begun

Of what is bounded, the oldest is dropped.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from detector.publish.outbox.changes import Applied, Counts, DeadLetter, PendingChanges
from detector.publish.outbox.database import transaction
from detector.publish.outbox.entries import OutboxEntry, QueuedMessage

Notify = Callable[[str, dict[str, str | int]], None]
"""Takes a message that a person must see, and its fields."""

VERSION: Final = 1
_DEAD_ROWS: Final = 1000
_DEAD_BYTES: Final = 4 * 2**20

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS waiting (
    ticket INTEGER PRIMARY KEY, node TEXT, source TEXT, label TEXT, sequence INTEGER, body TEXT,
    since REAL, boot TEXT, size INTEGER, check_sum INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS dead (
    ticket INTEGER PRIMARY KEY, topic TEXT, reason TEXT, at TEXT, body TEXT, size INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS told (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_events (
    id TEXT PRIMARY KEY, body TEXT, check_sum INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sequences (
    source TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_COLUMNS: Final = "ticket, node, source, label, sequence, body, since, boot, size, check_sum"

KEYS: Final = {
    "waiting": "ticket",
    "dead": "ticket",
    "told": "topic",
    "open_events": "id",
    "sequences": "source",
    "counters": "name",
}
"""The tables, and the first column of each, which is its key."""

Row = tuple[int, str, str, str | None, int, str, float, str, int, int]


class Tables:
    """Knows how much waits, so that it need not be counted at each change."""

    def __init__(self, rows: int, size: int, boot: str, notify: Notify) -> None:
        """As `Store`."""
        self._rows, self._size, self._boot, self._notify = rows, size, boot, notify
        self._waiting = self._bytes = 0
        self._said_dead = False

    @property
    def waiting(self) -> int:
        """How many entries there are."""
        return self._waiting

    def create(self, db: sqlite3.Connection) -> None:
        """Make what is not there: a file of an earlier version may lack some."""
        with transaction(db):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            if db.execute("PRAGMA user_version").fetchone() != (VERSION,):
                db.execute(f"PRAGMA user_version = {VERSION}")

    def measure(self, db: sqlite3.Connection) -> None:
        self._waiting, self._bytes = db.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM waiting"
        ).fetchone()

    def apply(self, db: sqlite3.Connection, changes: PendingChanges) -> Applied:
        """All of it, or nothing."""
        waiting, size = self._waiting, self._bytes
        dropped: list[int] = []
        with transaction(db):
            for added in changes.added:
                message = added.message
                row = self._row(added)
                (previous,) = db.execute(
                    "SELECT coalesce(sum(size), 0) FROM waiting WHERE ticket = ?", (added.ticket,)
                ).fetchone()
                db.execute(
                    f"INSERT OR REPLACE INTO waiting ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                    row,
                )
                waiting, size = waiting + (not previous), size + message.size - previous
                if message.sequence:
                    db.execute(
                        "INSERT INTO sequences VALUES (?, ?) ON CONFLICT DO UPDATE "
                        "SET last = max(last, excluded.last)",
                        (message.source, message.sequence),
                    )
            for ticket in changes.removed:
                gone = _delete(db, "ticket = ?", ticket)
                waiting, size = waiting - len(gone), size - sum(s for _, s in gone)
            while waiting > self._rows or (size > self._size and waiting > 1):
                gone = _delete(db, "ticket = (SELECT min(ticket) FROM waiting)")
                waiting, size = waiting - 1, size - gone[0][1]
                dropped.append(gone[0][0])
            new_dead = self._bury(db, changes.dead)
            topics, events = changes.retained_topics, changes.open_events
            db.executemany("INSERT OR IGNORE INTO told VALUES (?)", [(t,) for t in topics.put])
            db.executemany("DELETE FROM told WHERE topic = ?", [(t,) for t in topics.removed])
            db.executemany(
                "INSERT OR REPLACE INTO open_events VALUES (?, ?, ?)",
                [(key, body, _check_sum(key, body)) for key, body in events.put.items()],
            )
            db.executemany("DELETE FROM open_events WHERE id = ?", [(k,) for k in events.removed])
            _count(db, "dropped", len(dropped) + changes.dropped)
            _count(db, "rejected", new_dead + changes.rejected)
            _count(db, "lost", changes.lost)
            _count(db, "ticket", 0, at_least=changes.watermark.ticket)
            counts = replace(self.counts(db), waiting=waiting)
        self._waiting, self._bytes = waiting, size
        return Applied(counts, dropped)

    def read(self, db: sqlite3.Connection, after: int, most: int) -> list[OutboxEntry]:
        """The oldest with tickets above `after`; what is damaged becomes a dead letter."""
        sound: list[OutboxEntry] = []
        damaged: list[Row] = []
        query = f"SELECT {_COLUMNS} FROM waiting WHERE ticket > ? ORDER BY ticket LIMIT ?"  # noqa: S608
        for row in db.execute(query, (after, most)):
            if (entry := self.entry_of(row)) is not None:
                sound.append(entry)
            else:
                damaged.append(row)
        if damaged:
            at = now()
            dead = [
                DeadLetter(row[0], "", "damaged on the disk", at, f"{row[5]}") for row in damaged
            ]
            self._notify("events in the state directory are damaged", {"events": len(dead)})
            self.apply(db, PendingChanges(removed=[row[0] for row in damaged], dead=dead))
        return sound if sound or not damaged else self.read(db, after, most)

    def retained_topics(self, db: sqlite3.Connection) -> list[str]:
        return [topic for (topic,) in db.execute("SELECT topic FROM told")]

    def open_events(self, db: sqlite3.Connection) -> dict[str, str]:
        """By id, the last message; those whose record is damaged are left out."""
        rows = db.execute("SELECT id, body, check_sum FROM open_events")
        return {key: body for key, body, check_sum in rows if _check_sum(key, body) == check_sum}

    def sequences(self, db: sqlite3.Connection) -> dict[str, int]:
        return dict(db.execute("SELECT source, last FROM sequences"))

    def newest_ticket(self, db: sqlite3.Connection) -> int:
        """That was ever given out, as far as the file knows."""
        return int(dict(db.execute("SELECT name, value FROM counters")).get("ticket", 0))

    def dead_letters(self, db: sqlite3.Connection) -> list[DeadLetter]:
        """The newest last."""
        query = "SELECT ticket, topic, reason, at, body FROM dead ORDER BY ticket"
        return [DeadLetter(*row) for row in db.execute(query)]

    def take_over(
        self, db: sqlite3.Connection, saved: Mapping[str, Iterable[Sequence[object]]], ticket: int
    ) -> None:
        """Add what was saved of another file, whose newest ticket was at least `ticket`."""
        with transaction(db):
            for table, rows in saved.items():
                for row in rows:
                    marks = ",".join("?" * len(row))
                    with contextlib.suppress(sqlite3.IntegrityError, sqlite3.InterfaceError):
                        db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
            (newest,) = db.execute("SELECT coalesce(max(ticket), 0) FROM waiting").fetchone()
            db.execute("INSERT OR REPLACE INTO counters VALUES ('ticket', ?)",
                       (max(newest, ticket),))  # fmt: skip
        self.measure(db)

    def _bury(self, db: sqlite3.Connection, dead: Sequence[DeadLetter]) -> int:
        """Add dead letters, and let the oldest go; how many are new."""
        new = 0
        for letter in dead:
            size = len(letter.body.encode())
            row = (letter.ticket, letter.topic, letter.reason, letter.at, letter.body, size)
            new += db.execute("INSERT OR IGNORE INTO dead VALUES (?,?,?,?,?,?)", row).rowcount
        if new:
            gone = db.execute(
                "DELETE FROM dead WHERE ticket IN (SELECT ticket FROM (SELECT ticket, "
                "row_number() OVER newest AS place, sum(size) OVER newest AS total FROM dead "
                "WINDOW newest AS (ORDER BY ticket DESC)) WHERE place > ? OR "
                "(total > ? AND place > 1))",
                (_DEAD_ROWS, _DEAD_BYTES),
            ).rowcount
            if gone and not self._said_dead:
                self._said_dead = True
                self._notify("too many dead letters: the oldest are deleted", {"most": _DEAD_ROWS})
        return new

    def counts(self, db: sqlite3.Connection) -> Counts:
        counters = dict(db.execute("SELECT name, value FROM counters"))
        (newest,) = db.execute("SELECT coalesce(max(ticket), 0) FROM waiting").fetchone()
        (dead,) = db.execute("SELECT count(*) FROM dead").fetchone()
        return Counts(
            waiting=self._waiting,
            newest=newest,
            dead=dead,
            dropped=counters.get("dropped", 0),
            rejected=counters.get("rejected", 0),
            lost=counters.get("lost", 0),
        )

    def _row(self, entry: OutboxEntry) -> Row:
        message = entry.message
        content = (entry.ticket, message.node, message.source, message.label, message.sequence)
        return (
            *content, message.body, entry.since, self._boot, message.size,
            _check_sum(*content, message.body),
        )  # fmt: skip

    def entry_of(self, row: Row) -> OutboxEntry | None:
        """None if the row is not what was written."""
        ticket, node, source, label, sequence, body, since, boot, _, check_sum = row
        if _check_sum(ticket, node, source, label, sequence, body) != check_sum:
            return None
        # Another start of the machine takes longer than it takes to be late.
        since = since if boot == self._boot else float("-inf")
        return OutboxEntry(ticket, QueuedMessage(node, source, label, sequence, body), since)


def _delete(db: sqlite3.Connection, which: str, *values: int) -> list[tuple[int, int]]:
    """Tickets and sizes of what is deleted."""
    return db.execute(
        f"DELETE FROM waiting WHERE {which} RETURNING ticket, size",  # noqa: S608 - no input in it
        values,
    ).fetchall()


def _count(db: sqlite3.Connection, name: str, more: int, at_least: int = 0) -> None:
    if more or at_least:
        db.execute(
            "INSERT INTO counters VALUES (?1, max(?2, ?3)) ON CONFLICT DO UPDATE "
            "SET value = max(value + ?2, ?3)",
            (name, more, at_least),
        )


def _check_sum(*values: object) -> int:
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def now() -> str:
    """RFC 3339, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
