"""Bytes from a file or a pipe, of which the next ones can be looked at."""

import io
from typing import Final, Protocol

_READ_BYTES: Final = 65_536


class Readable(Protocol):
    """What a file object opened for reading bytes has, and a pipe or a socket's file as well."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class ByteReader:
    """Reads a stream in order, and never asks for more than what it must have to go on.

    No more is kept than was last looked at and one read.
    """

    def __init__(self, stream: Readable) -> None:
        # read1 returns what there is: a pipe from a live source must not wait for a whole piece.
        self._read = getattr(stream, "read1", stream.read)
        self._buffer, self._at = b"", 0
        self.position = 0
        """How many bytes were read, or where in the file that is."""

    def peek(self, size: int) -> bytes:
        """Look at so many bytes, or fewer if the stream ends."""
        self._have(size)
        return self._buffer[self._at : self._at + size]

    def peek_all(self, size: int) -> bytes:
        """All that is there already, but at least so many bytes unless the stream ends."""
        self._have(size)
        return self._buffer[self._at :] if self._at else self._buffer

    def read(self, size: int) -> bytes:
        """At most so many bytes, and at least one unless the stream has ended."""
        self._have(1)
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        self.position += len(data)
        return data

    def _have(self, size: int) -> None:
        while len(self._buffer) - self._at < size and (data := self._read(_READ_BYTES)):
            self._buffer, self._at = self._buffer[self._at :] + data, 0

    def seek(self, file: io.BufferedReader, position: int) -> None:
        """Go on elsewhere in the file that is read."""
        self._buffer, self._at = b"", 0
        self.position = file.seek(position)

    def at_end(self) -> bool:
        return not self.peek(1)
