"""A SQLite file that one process has to itself, and what can go wrong with it."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from detector.errors import StateError

LOG_PAGES: Final = 64
"""The content of the log is moved to where it belongs whenever it has so many pages of 4 kB."""
_BUSY_S: Final = 3.0
_KEPT_ASIDE: Final = 3
"""Damaged files; older ones are deleted, lest they fill the disk."""
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""SQLITE_ERROR is what a file with other tables gives."""
_NO_ROOM: Final = 64 * 1024
"""Bytes: with less, an error of the disk is taken to mean that it is full."""


class StoreFullError(StateError):
    """There is no room on the disk."""


class StoreDamagedError(StateError):
    """The file is not what was written."""


class StoreTakenError(StateError):
    """Another process has the file."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that has the file to itself."""
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    # What a damaged file says may be anything: the check sum finds it.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for pragma in (
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {LOG_PAGES}",
        f"journal_size_limit = {2**20}",
    ):
        try:
            db.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            db.close()
            raise
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it becomes durable, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def errors(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system become those of this module, with the path."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        what = f"{path}: {error}"
        if code in _DAMAGED:
            raise StoreDamagedError(what) from None
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(path.parent)):
            raise StoreFullError(what) from None
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreTakenError(
                f"{path}: another detector uses it: each needs a state_dir of its own"
            ) from None
        raise StateError(what) from None
    except StateError:
        raise
    except OSError as error:
        what = f"{error.filename or path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(what) from None
        raise StateError(what) from None


def _no_room(folder: Path) -> bool:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _NO_ROOM


def _renamed(path: Path) -> tuple[int, str]:
    """When a file got its name. Names alone do not tell, if several are of one second."""
    return path.stat().st_ctime_ns, path.name


def set_aside(path: Path) -> Path:
    """Rename a file and its log to a name with the date; raises OSError."""
    stem = f"{path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    aside, number = path.with_name(f"{stem}.damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{stem}-{number}.damaged")
    path.rename(aside)
    log = Path(f"{path}-wal")
    if log.exists():
        log.rename(f"{aside}-wal")
    kept = sorted(path.parent.glob(f"{path.stem}-*.damaged"), key=_renamed)
    for old in kept[:-_KEPT_ASIDE]:
        old.unlink()
        Path(f"{old}-wal").unlink(missing_ok=True)
    return aside


def salvage(path: Path, keys: Mapping[str, str]) -> dict[str, list[Any]]:
    """What can be read of each table of a damaged file: from its front, and then from its end.

    `keys` names the tables, and of each the first column, which is its key.
    """
    saved: dict[str, list[Any]] = {table: [] for table in keys}
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path)) as db:
        for table, key in keys.items():
            found: dict[Any, tuple[Any, ...]] = {}
            for order in ("ASC", "DESC"):
                with contextlib.suppress(sqlite3.Error):
                    for row in db.execute(f"SELECT * FROM {table} ORDER BY {key} {order}"):  # noqa: S608
                        if row[0] in found:
                            break
                        found[row[0]] = row
            saved[table] = list(found.values())
    return saved
