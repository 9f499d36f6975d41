"""The outbox on disk: one SQLite file, used by one process, from one thread at a time.

    waiting    what the broker has not confirmed          bounded in rows and bytes, oldest dropped
    dead       what the broker will never take, and why   bounded likewise
    told       retained topics that the broker may hold
    sequences  the last sequence number of each source, written together with the event
    counters   the newest ticket, and what was dropped and rejected since the file was begun

Write-ahead log and synchronous=FULL: what `apply` has returned from survives a killed process and,
on a disk that keeps its promises, a power cut. The log is held exclusively, so that no second
daemon can take the same folder, and no shared memory file is needed.

A file that is damaged is set aside under a name with the date, what can still be read of it is
taken over, and a new one is begun.
"""

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from detector.errors import StateError
from detector.publish.outbox.ballast import Ballast
from detector.publish.outbox.batches import Applied, Batch, Begun, Counts, DeadLetter, Loaded
from detector.publish.outbox.database import (
    LOG_PAGES,
    StoreDamagedError,
    StoreFullError,
    StoreTakenError,
    connect,
    errors,
    salvage,
    set_aside,
    transaction,
)
from detector.publish.outbox.outbox import Letter, Waiting
from detector.publish.outbox.watermark import Watermark

NAME: Final = "outbox.sqlite3"
_VERSION: Final = 1
_DEAD_ROWS: Final = 1000
_DEAD_BYTES: Final = 4 * 2**20
_SHORT_LOG_PAGES: Final = 8

_SCHEMA: Final = """
CREATE TABLE waiting (
    ticket INTEGER PRIMARY KEY, node TEXT, source TEXT, label TEXT, sequence INTEGER, body TEXT,
    since REAL, boot TEXT, size INTEGER, check_sum INTEGER) STRICT;
CREATE TABLE dead (
    ticket INTEGER PRIMARY KEY, topic TEXT, reason TEXT, at TEXT, body TEXT, size INTEGER) STRICT;
CREATE TABLE told (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE sequences (source TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_COLUMNS: Final = "ticket, node, source, label, sequence, body, since, boot, size, check_sum"

_KEYS: Final = {
    "waiting": "ticket",
    "dead": "ticket",
    "told": "topic",
    "sequences": "source",
    "counters": "name",
}
T = TypeVar("T")
Row = tuple[int, str, str, str | None, int, str, float, str, int, int]


class Store:
    """The file `outbox.sqlite3` in `folder`, with a ballast and a watermark beside it.

    Every method raises `StateError` if the disk does not do what is asked, and may then be called
    again later: the file is opened anew.
    """

    def __init__(
        self,
        folder: Path,
        rows: int,
        size: int,
        boot: str,
        say: Callable[[str, dict[str, str | int]], None],
    ) -> None:
        """Keep at most `rows` that wait, of `size` bytes; `say` is told of what a person must know.

        `boot` is another one after each start of the machine.
        """
        self._folder, self._path = folder, folder / NAME
        self._rows, self._size, self._boot, self._say = rows, size, boot, say
        self._ballast = Ballast(folder / "ballast")
        self._watermark = folder / "watermark"
        self._db: sqlite3.Connection | None = None
        self._log_pages = LOG_PAGES
        self._waiting = self._bytes = 0
        self._newest = 0  # ticket of which the file knows
        self._said_dead = False

    def begin(self) -> Begun:
        """Open the file, or make it."""
        watermark = Watermark.read(self._watermark)

        def work(db: sqlite3.Connection) -> Begun:
            known: int = dict(db.execute("SELECT name, value FROM counters")).get("ticket", 0)
            self._newest = known
            sequences: dict[str, int] = dict(db.execute("SELECT source, last FROM sequences"))
            for source, last in watermark.sequences.items():
                sequences[source] = max(last, sequences.get(source, 0))
            return Begun(
                counts=self._counts(db),
                watermark=Watermark(max(known, watermark.ticket), sequences),
                told=[topic for (topic,) in db.execute("SELECT topic FROM told")],
                lost=max(0, watermark.ticket - known),
            )

        return self._retrying(work)

    def apply(self, batch: Batch) -> Applied:
        """Make a batch durable."""
        try:
            applied = self._retrying(lambda db: self._apply(db, batch))
        except StoreTakenError:
            raise  # what lies in the folder is the other's
        except StateError:
            # Were the process killed now, only what waits would be missing: all else was sent.
            gone = self._newest + batch.lost + batch.unstored
            replace(batch.watermark, ticket=gone).write(self._watermark)
            raise
        batch.watermark.write(self._watermark)
        self._newest = batch.watermark.ticket
        return applied

    def read(self, after: int, most: int) -> Loaded:
        """The oldest that wait, of those with tickets above `after`, in order.

        One whose record is damaged becomes a dead letter.
        """

        def work(db: sqlite3.Connection) -> Loaded:
            return Loaded(self._read(db, after, most), self._counts(db))

        return self._retrying(work)

    def dead(self) -> list[DeadLetter]:
        """The newest last."""
        query = "SELECT ticket, topic, reason, at, body FROM dead ORDER BY ticket"
        return self._retrying(lambda db: [DeadLetter(*row) for row in db.execute(query)])

    def close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    # -- transactions ----------------------------------------------------------------------------

    def _apply(self, db: sqlite3.Connection, batch: Batch) -> Applied:
        waiting, size = self._waiting, self._bytes
        dropped: list[int] = []
        with transaction(db):
            for added in batch.added:
                letter = added.letter
                row = self._row(added)
                (previous,) = db.execute(
                    "SELECT coalesce(sum(size), 0) FROM waiting WHERE ticket = ?", (added.ticket,)
                ).fetchone()
                db.execute(
                    f"INSERT OR REPLACE INTO waiting ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                    row,
                )
                waiting, size = waiting + (not previous), size + letter.size - previous
                if letter.sequence:
                    db.execute(
                        "INSERT INTO sequences VALUES (?, ?) ON CONFLICT DO UPDATE "
                        "SET last = max(last, excluded.last)",
                        (letter.source, letter.sequence),
                    )
            for ticket in batch.removed:
                gone = _delete(db, "ticket = ?", ticket)
                waiting, size = waiting - len(gone), size - sum(s for _, s in gone)
            while waiting > self._rows or (size > self._size and waiting > 1):
                gone = _delete(db, "ticket = (SELECT min(ticket) FROM waiting)")
                waiting, size = waiting - 1, size - gone[0][1]
                dropped.append(gone[0][0])
            new_dead = self._bury(db, batch.dead)
            db.executemany("INSERT OR IGNORE INTO told VALUES (?)", [(t,) for t in batch.told])
            db.executemany("DELETE FROM told WHERE topic = ?", [(t,) for t in batch.untold])
            _count(db, "dropped", len(dropped) + batch.dropped)
            _count(db, "rejected", new_dead + batch.rejected)
            _count(db, "lost", batch.lost)
            _count(db, "ticket", 0, at_least=batch.watermark.ticket)
            counts = replace(self._counts(db), waiting=waiting)
        self._waiting, self._bytes = waiting, size
        return Applied(counts, dropped)

    def _read(self, db: sqlite3.Connection, after: int, most: int) -> list[Waiting]:
        sound: list[Waiting] = []
        damaged: list[Row] = []
        query = f"SELECT {_COLUMNS} FROM waiting WHERE ticket > ? ORDER BY ticket LIMIT ?"  # noqa: S608
        for row in db.execute(query, (after, most)):
            if (waiting := self._waiting_of(row)) is not None:
                sound.append(waiting)
            else:
                damaged.append(row)
        if damaged:
            at = now()
            dead = [
                DeadLetter(row[0], "", "damaged on the disk", at, f"{row[5]}") for row in damaged
            ]
            self._say("events in the state directory are damaged", {"events": len(dead)})
            self._apply(db, Batch(removed=[row[0] for row in damaged], dead=dead))
        return sound if sound or not damaged else self._read(db, after, most)

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
                self._say("too many dead letters: the oldest are deleted", {"most": _DEAD_ROWS})
        return new

    def _counts(self, db: sqlite3.Connection) -> Counts:
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

    def _row(self, waiting: Waiting) -> Row:
        letter = waiting.letter
        content = (waiting.ticket, letter.node, letter.source, letter.label, letter.sequence)
        return (
            *content, letter.body, waiting.since, self._boot, letter.size,
            _check_sum(*content, letter.body),
        )  # fmt: skip

    def _waiting_of(self, row: Row) -> Waiting | None:
        """None if the row is not what was written."""
        ticket, node, source, label, sequence, body, since, boot, _, check_sum = row
        if _check_sum(ticket, node, source, label, sequence, body) != check_sum:
            return None
        # Another start of the machine takes longer than it takes to be late.
        since = since if boot == self._boot else float("-inf")
        return Waiting(ticket, Letter(node, source, label, sequence, body), since)

    # -- the file --------------------------------------------------------------------------------

    def _retrying(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do it; once more if the disk was full and there is ballast, or the file damaged."""
        try:
            done = self._attempt(work)
        except StoreFullError:
            if self._ballast.release():
                self._say("the disk is full: the reserve is used", {"folder": str(self._folder)})
            self._spare()
            return self._attempt(work)
        except StoreDamagedError as error:
            self._set_aside(str(error))
            done = self._attempt(work)
        if self._ballast.restore():
            self._limit_log(LOG_PAGES)
        return done

    def _spare(self) -> None:
        """Give back the room of the log, and let it take little from now on."""
        self._limit_log(_SHORT_LOG_PAGES)
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _limit_log(self, pages: int) -> None:
        """Have the log's content moved to where it belongs whenever it has so many pages."""
        if self._db is not None and pages != self._log_pages:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute(f"PRAGMA wal_autocheckpoint = {pages}").fetchall()
            self._log_pages = pages

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._opened()
        try:
            with errors(self._path):
                return work(db)
        except StoreFullError:
            raise
        except StateError:
            self.close()  # opened anew next time: the disk may be another one by then
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._open()
            except StoreDamagedError as error:
                self._set_aside(str(error))
        if self._db is None:
            self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        with errors(self._path):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            db = connect(self._path)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new file, look through those of another."""
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise StoreDamagedError(f"{self._path}: is of an unknown version, {version}")
        with transaction(db):
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreDamagedError(f"{self._path}: {verdict}")
        self._measure(db)
        # When the disk is full, there must be a place already for what is in the log.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._log_pages = LOG_PAGES

    def _measure(self, db: sqlite3.Connection) -> None:
        self._waiting, self._bytes = db.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM waiting"
        ).fetchone()

    def _set_aside(self, reason: str) -> None:
        """Begin a new file with what can still be read of the damaged one."""
        self.close()
        with errors(self._path):
            aside = set_aside(self._path)
        saved = salvage(aside, _KEYS)
        sound = [row for row in saved["waiting"] if self._waiting_of(row) is not None]
        watermark = Watermark.read(self._watermark)
        if watermark.sequences:
            saved["sequences"] = list(watermark.sequences.items())
        self._db = db = self._open()
        with errors(self._path), transaction(db):
            for table, rows in (saved | {"waiting": sound}).items():
                for row in rows:
                    marks = ",".join("?" * len(row))
                    with contextlib.suppress(sqlite3.IntegrityError, sqlite3.InterfaceError):
                        db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
            # What is missing cannot be told from what was delivered.
            newest = max((row[0] for row in sound), default=0)
            db.execute("INSERT OR REPLACE INTO counters VALUES ('ticket', ?)",
                       (max(newest, watermark.ticket),))  # fmt: skip
        self._measure(db)
        self._say(
            "the outbox was damaged: it is set aside, and a new one begun",
            {
                "reason": reason,
                "set_aside": str(aside),
                "events_saved": self._waiting,
                "events_damaged": len(saved["waiting"]) - len(sound),
            },
        )


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


def look(folder: Path) -> str:
    """What is in a state directory, in a few words, without changing anything.

    Raises:
        StateError: it cannot be used.
    """
    path = folder / NAME
    present = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
        raise StateError(f"{present}: is not a directory in which this user may write")
    if not path.exists():
        return f"{folder}: nothing is in it yet"
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0)
        ) as db:
            (waiting,) = db.execute("SELECT count(*) FROM waiting").fetchone()
            (dead,) = db.execute("SELECT count(*) FROM dead").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return f"{folder}: a detector is using it"
        raise StateError(f"{path}: {error}: a new one will be begun") from None
    return f"{folder}: {waiting} events wait, {dead} dead letters"
