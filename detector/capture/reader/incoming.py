"""The bytes of one writer."""

import os
import select
import time
from collections.abc import Callable
from typing import Final

from detector.boottime import boottime_ns
from detector.capture.reader.output import BLOCK_S

READ_BYTES: Final = 1 << 16
SILENT_S: Final = 5.0
"""A writer that sends nothing for so long is taken for gone. Two seconds later the daemon would
start the reader again."""


class Incoming:
    """Reads what comes from a file descriptor, and notices when nothing does."""

    def __init__(
        self,
        descriptor: int,
        *,
        quiet: Callable[[], None],
        silent: Callable[[], None],
        silent_s: float = SILENT_S,
        others: dict[int, Callable[[], None]] | None = None,
    ) -> None:
        """Describe it.

        Args:
            descriptor: of a pipe or a socket; not closed here.
            quiet: is called whenever nothing came for a tenth of a second.
            silent: is called when nothing came for `silent_s` seconds; may raise.
            silent_s: how long that is.
            others: what else to call, when something can be read from a descriptor.
        """
        self.arrived_ns = boottime_ns()
        """When the last bytes came, on the boottime clock."""
        self._descriptor, self._quiet = descriptor, quiet
        self._silent, self._silent_s = silent, silent_s
        self._others = others or {}
        self._poll = select.poll()
        for each in (descriptor, *self._others):
            self._poll.register(each, select.POLLIN)
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        """All that is there, at least so many bytes unless it ends; `read` gives them as well."""
        while len(self._peeked) < size and (data := self._receive(READ_BYTES)):
            self._peeked += data
        return self._peeked

    def read(self, size: int = READ_BYTES) -> bytes:
        """Wait for bytes and return what there is, at most `size`; none at the end."""
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        since, quiet, silent = time.monotonic(), False, False
        while not self._wait(1.0 if quiet else BLOCK_S):
            if not quiet:
                quiet = True
                self._quiet()
            if not silent and time.monotonic() - since >= self._silent_s:
                silent = True
                self._silent()
        try:
            data = os.read(self._descriptor, size)
        except OSError:  # reset by the writer
            return b""
        self.arrived_ns = boottime_ns()
        return data

    def _wait(self, seconds: float) -> bool:
        """Whether there is something to read, or the end."""
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._descriptor:
                return True
            self._others[descriptor]()
        return False
