"""A file that takes up room, to be given back when the disk is full.

SQLite with a write-ahead log needs room even to delete: without a reserve, nothing that waits on a
full disk could be marked as delivered, and nothing could give way to what is newer.
"""

import contextlib
import os
from pathlib import Path
from typing import Final


class Ballast:
    """Takes its room again once there is enough of it."""

    SIZE: Final = 128 * 1024
    """Bytes; some hundred events."""
    _ROOM: Final = 3
    """It is put down only where so many times its size is free."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def release(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def restore(self) -> bool:
        """Take the room, if there is plenty; whether it is taken."""
        with contextlib.suppress(OSError):
            if self._path.exists():
                return True
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < self._ROOM * self.SIZE:
                return False
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self.SIZE)
            except OSError:
                self._path.unlink(missing_ok=True)
            else:
                return True
            finally:
                os.close(file)
        return False
