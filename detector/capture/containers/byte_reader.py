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
        self._buffer = b""
        self.position = 0
        """How many bytes were read, or where in the file that is."""

    def peek(self, size: int) -> bytes:
        """All that is there already, but at least so many bytes unless the stream ends."""
        while len(self._buffer) < size and (data := self._read(_READ_BYTES)):
            self._buffer += data
        return self._buffer

    def read(self, size: int) -> bytes:
        """At most so many bytes, and at least one unless the stream has ended."""
        data = self.peek(1)[:size]
        self._buffer = self._buffer[len(data) :]
        self.position += len(data)
        return data

    def seek(self, file: io.BufferedReader, position: int) -> None:
        """Go on elsewhere in the file that is read."""
        self._buffer = b""
        self.position = file.seek(position)

    def at_end(self) -> bool:
        return not self.peek(1)
