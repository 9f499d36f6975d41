"""What is sent to a socket."""

import contextlib
import errno
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detector.capture.reader.incoming import SILENT_S, Incoming
from detector.capture.reader.output import Output
from detector.errors import SourceError
from detector.settings.pcm import SocketAddress

RECEIVE_BYTES: Final = 1 << 16
"""What the kernel keeps of a writer that is faster than it is heard; it would keep megabytes, which
are minutes. The kernel doubles it for its own needs."""
_FLAPPING_S: Final = 5.0
_PAUSE_S: Final = 0.5
"""After a writer that stayed for less than `_FLAPPING_S`, before the next is let in."""


class Listener:
    """A TCP or UNIX socket that lets in one writer at a time."""

    def __init__(self, address: str, permissions: int) -> None:
        self._name, self._address = address, SocketAddress(address)
        self._permissions = permissions
        self._listening: socket.socket | None = None
        self._writer: socket.socket | None = None

    def writers(self, out: Output) -> Iterator[Incoming]:
        listening = self._listening = self._listen()
        if not self._address.path and not self._address.is_loopback:
            out.note(f"{self._name} is open to other machines: whoever reaches it is heard")
        out.offline(f"nobody sends to {self._name}")

        def turn_away() -> None:
            with contextlib.suppress(OSError):
                other, peer = listening.accept()
                with other:
                    _tell(other, "another writer is being heard")
                out.note(f"{self._name}: a second writer{_named(peer)} was turned away")

        def let_go() -> None:
            raise SourceError(f"the writer sent nothing for {SILENT_S:g} s and was let go")

        while True:
            try:
                self._writer, _ = listening.accept()
            except OSError as error:
                raise SourceError(f"{self._name}: {error.strerror}") from None
            came_s = time.monotonic()
            with self._writer:
                yield Incoming(
                    self._writer.fileno(),
                    quiet=out.flush,
                    silent=let_go,
                    others={listening.fileno(): turn_away},
                )
            out.ended(f"nobody sends to {self._name} any more")
            if time.monotonic() - came_s < _FLAPPING_S:
                time.sleep(_PAUSE_S)

    def refuse(self, why: str, out: Output) -> None:
        """Tell the writer too; its connection is closed next."""
        out.offline(why)
        if self._writer:
            _tell(self._writer, why)

    def close(self) -> None:
        """Take the UNIX socket away."""
        if self._address.path and self._listening:
            with contextlib.suppress(OSError):
                self._address.path.unlink()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if self._address.is_ipv6 else socket.AF_INET
        listening = socket.socket(socket.AF_UNIX if self._address.path else family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        try:
            if path := self._address.path:
                _remove_stale(path)
                listening.bind(str(path))
                path.chmod(self._permissions)
            else:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((self._address.host, self._address.port))
            listening.listen(4)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SourceError(f"{self._name}: another program listens there") from None
            raise SourceError(f"{self._name}: {error.strerror}") from None
        return listening


def _remove_stale(path: Path) -> None:
    """Take away a socket that nobody listens at, as a process leaves it that was killed.

    Raises:
        OSError: somebody listens there, or it is no socket.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of this name that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _tell(writer: socket.socket, why: str) -> None:
    """Say it before the connection is closed, if the writer reads."""
    with contextlib.suppress(OSError):
        writer.send(f"detector: {why}\n".encode(), socket.MSG_DONTWAIT)


def _named(peer: object) -> str:
    return f" ({peer[0]})" if isinstance(peer, tuple) else ""
