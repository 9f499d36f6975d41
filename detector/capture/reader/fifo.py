"""What is written to a named pipe."""

import contextlib
import os
import select
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detector.capture.reader.incoming import READ_BYTES, Incoming
from detector.capture.reader.origins import widen
from detector.capture.reader.output import Output
from detector.errors import SourceError

_LOOK_S: Final = 0.5
_FLOOD_S: Final = 0.05


class Fifo:
    """A named pipe. Its writers come and go; while there is none, opening it does not wait."""

    def __init__(self, path: Path, permissions: int) -> None:
        self._path, self._permissions = path, permissions
        self._descriptor = -1

    def writers(self, out: Output) -> Iterator[Incoming]:
        out.offline(f"nobody writes to {self._path}")
        self._descriptor = self._open()
        while True:
            self._until_written()
            yield Incoming(
                self._descriptor,
                quiet=out.flush,
                silent=lambda: out.offline(f"{self._path} is open, but nothing is written to it"),
            )
            out.ended(f"nobody writes to {self._path} any more")
            # The next one is opened first, so that a writer never finds no reader; and only a
            # descriptor that never had a writer can be waited with.
            last, self._descriptor = self._descriptor, self._open()
            os.close(last)

    def refuse(self, why: str, out: Output) -> None:
        """Read on to the end, and let it fall: the rest has no beginning to be known by."""
        out.offline(why)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while True:
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                size = len(os.read(self._descriptor, READ_BYTES))
                if not size:
                    return
                if size == READ_BYTES:  # as fast as it can
                    time.sleep(_FLOOD_S)

    def close(self) -> None:
        """Nothing: the kernel closes it."""

    def _open(self) -> int:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path)
                self._path.chmod(self._permissions)
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"FIFO {self._path}: {error.strerror}") from None
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise SourceError(f"{self._path}: is no FIFO (named pipe); a recording is audio_file")
        widen(descriptor)
        return descriptor

    def _until_written(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not poll.poll(_LOOK_S * 1000):
            if not self._is_there():
                raise SourceError(f"FIFO {self._path} was removed, or replaced")

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False
