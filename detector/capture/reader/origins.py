"""Where writers come from."""

import contextlib
import fcntl
from collections.abc import Iterator
from typing import Final, Protocol

from detector.capture.reader.incoming import Incoming
from detector.capture.reader.output import Output

_PIPE_BYTES: Final = 1 << 20
"""What waits in a pipe while the daemon is busy; the kernel's own 64 KiB are 0.3 s of CD sound."""


def widen(pipe: int) -> None:
    """Let more wait in a pipe, as far as this user may."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class Origin(Protocol):
    """Where writers come from, one after another."""

    def writers(self, out: Output) -> Iterator[Incoming]:
        """Each writer that comes; asking for the next one ends the last.

        Raises:
            SourceError: there will be none.
        """
        ...

    def refuse(self, why: str, out: Output) -> None:
        """The present writer cannot be heard: say so, and let nothing pass for another writer.

        Raises:
            SourceError: there will be none.
        """
        ...

    def close(self) -> None:
        """End what must not outlive the reader. Called from any thread."""
        ...
