"""The outbox on disk: one SQLite file, used by one process, from one thread at a time.

Write-ahead log and synchronous=FULL: what `apply` has returned from survives a killed process and,
on a disk that keeps its promises, a power cut. The log is held exclusively, so that no second
daemon can take the same folder, and no shared memory file is needed.

A file that is damaged is set aside under a name with the date, what can still be read of it is
taken over, and a new one is begun.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from detector.errors import StateError
from detector.publish.outbox.ballast import Ballast
from detector.publish.outbox.changes import (
    Applied,
    DeadLetter,
    Loaded,
    PendingChanges,
    StoredState,
)
from detector.publish.outbox.database import (
    LOG_PAGES,
    StoreDamagedError,
    StoreFullError,
    StoreTakenError,
    connect,
    errors,
    salvage,
    set_aside,
)
from detector.publish.outbox.tables import KEYS, VERSION, Notify, Tables
from detector.publish.outbox.watermark import Watermark

NAME: Final = "outbox.sqlite3"
_SHORT_LOG_PAGES: Final = 8

T = TypeVar("T")


class Store:
    """The file `outbox.sqlite3` in `folder`, with a ballast and a watermark beside it.

    Every method raises `StateError` if the disk does not do what is asked, and may then be called
    again later: the file is opened anew.
    """

    def __init__(self, folder: Path, rows: int, size: int, boot: str, notify: Notify) -> None:
        """Keep at most `rows` that wait, of `size` bytes; `boot` differs between machine starts."""
        self._folder, self._path = folder, folder / NAME
        self._tables = Tables(rows, size, boot, notify)
        self._notify = notify
        self._ballast = Ballast(folder / "ballast")
        self._watermark = folder / "watermark"
        self._db: sqlite3.Connection | None = None
        self._log_pages = LOG_PAGES
        self._newest = 0  # ticket of which the file knows

    def open(self) -> StoredState:
        """Open the file, or make it."""
        watermark = self.read_watermark()

        def work(db: sqlite3.Connection) -> StoredState:
            self._newest = self._tables.newest_ticket(db)
            sequences = self._tables.sequences(db)
            for source, last in watermark.sequences.items():
                sequences[source] = max(last, sequences.get(source, 0))
            return StoredState(
                counts=self._tables.counts(db),
                watermark=replace(
                    watermark, ticket=max(self._newest, watermark.ticket), sequences=sequences
                ),
                retained_topics=self._tables.retained_topics(db),
                open_events=self._tables.open_events(db),
                lost=max(0, watermark.ticket - self._newest),
            )

        return self._retrying(work)

    def apply(self, changes: PendingChanges) -> Applied:
        """Make changes durable."""
        try:
            applied = self._retrying(lambda db: self._tables.apply(db, changes))
        except StoreTakenError:
            raise  # what lies in the folder is the other's
        except StateError:
            # Were the process killed now, only what waits would be missing: all else was sent.
            gone = self._newest + changes.lost + changes.unstored
            replace(changes.watermark, ticket=gone).write(self._watermark)
            raise
        changes.watermark.write(self._watermark)
        self._newest = changes.watermark.ticket
        return applied

    def read(self, after: int, most: int) -> Loaded:
        """The oldest that wait, of those with tickets above `after`, in order.

        One whose record is damaged becomes a dead letter.
        """

        def work(db: sqlite3.Connection) -> Loaded:
            return Loaded(self._tables.read(db, after, most), self._tables.counts(db))

        return self._retrying(work)

    def dead_letters(self) -> list[DeadLetter]:
        """The newest last."""
        return self._retrying(self._tables.dead_letters)

    def read_watermark(self) -> Watermark:
        """It can be read where nothing can be written."""
        return Watermark.read(self._watermark)

    def write_watermark(self, watermark: Watermark) -> None:
        """Note how far sources were heard, while nothing else has changed."""
        if self._db is not None:  # else the folder may be another's
            replace(watermark, ticket=self._newest).write(self._watermark)

    def close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _retrying(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do it; once more if the disk was full and there is ballast, or the file damaged."""
        try:
            done = self._attempt(work)
        except StoreFullError:
            if self._ballast.release():
                self._notify("the disk is full: the reserve is used", {"folder": str(self._folder)})
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
        if version not in (0, VERSION):
            raise StoreDamagedError(f"{self._path}: is of an unknown version, {version}")
        self._tables.create(db)
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreDamagedError(f"{self._path}: {verdict}")
        self._tables.measure(db)
        # When the disk is full, there must be a place already for what is in the log.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._log_pages = LOG_PAGES

    def _set_aside(self, reason: str) -> None:
        """Begin a new file with what can still be read of the damaged one."""
        self.close()
        with errors(self._path):
            aside = set_aside(self._path)
        saved = salvage(aside, KEYS)
        sound = [row for row in saved["waiting"] if self._tables.entry_of(row) is not None]
        watermark = self.read_watermark()
        if watermark.sequences:
            saved["sequences"] = list(watermark.sequences.items())
        self._db = db = self._open()
        with errors(self._path):
            # What is missing cannot be told from what was delivered.
            self._tables.take_over(db, saved | {"waiting": sound}, watermark.ticket)
        self._notify(
            "the outbox was damaged: it is set aside, and a new one begun",
            {
                "reason": reason,
                "set_aside": str(aside),
                "events_saved": self._tables.waiting,
                "events_damaged": len(saved["waiting"]) - len(sound),
            },
        )


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
