"""Recordings that were joined by `cat`: a chain of links, each of which is a file of its own.

libavformat knows one header a file. What it makes of a second one differs from container to
container: it is heard as a click, costs a frame, or all that follows is ignored.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from detector.capture.containers.byte_reader import ByteReader

_HEADERS: Final = {
    "aiff": rb"FORM....AIF[FC]",
    "amr": rb"#!AMR(?:-WB)?\n",
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    "au": rb"\.snd\x00\x00\x00[\x18-\xff]",
    "caf": rb"caff\x00[\x01\x02]\x00\x00desc",
    "flac": rb"fLaC[\x00\x80]\x00\x00\x22",
    "flv": rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00",
    "matroska": rb"\x1a\x45\xdf\xa3.{4,40}(?:webm|matroska)",
    "tta": rb"TTA1[\x01\x03]\x00[\x01-\x08]\x00",
    "voc": rb"Creative Voice File\x1a",
    "wv": rb"wvpk.{4}[\x00-\x20]\x04.{6}\x00{4}.{5}"
    rb"[\x08-\x0f\x18-\x1f\x28-\x2f\x38-\x3f\x48-\x4f\x58-\x5f\x68-\x6f\x78-\x7f"
    rb"\x88-\x8f\x98-\x9f\xa8-\xaf\xb8-\xbf\xc8-\xcf\xd8-\xdf\xe8-\xef\xf8-\xff]",
}
"""What begins a recording and does not occur within one, by libavformat's name of the demuxer.
A WavPack block is the first if it begins at sample 0 and is the first of its channels."""
_DRAINED: Final = 1 << 16
_LONGEST: Final = 64
"""Bytes that any of these has, at most."""


class Link(ABC):
    """One recording of a chain, read in order, as a file object without a name."""

    def __init__(self, reader: ByteReader) -> None:
        """Begin where the reader stands. At the link's end it stands behind it."""
        self._reader = reader
        self._pieces: Iterator[bytes] = self._content()
        self._rest = b""
        self.fault = ""
        """What is wrong with it, once it is read to its end; empty if nothing is."""
        self.missing_share = 0.0
        """How much is then absent, by its header, as a multiple of what there is."""
        self.lost_beginning = False
        """Whether what stood before the first sound is known to be lost."""
        self.end_frame: int | None = None
        """Where its sound ends, at its rate, once that was read; what is decoded beyond is none."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at its end."""
        data = self._rest or next(self._pieces, b"")
        self._rest = data[size:]
        return data[:size]

    def drain(self) -> None:
        """Read what is left."""
        while self.read(_DRAINED):
            pass

    def lost_s(self, _position: int | None) -> float:
        """How much sound was lost before a place, in seconds, if no time stamp tells it.

        Args:
            _position: in the bytes that were read; None is the end. What was told is not told
                again.
        """
        return 0.0

    @abstractmethod
    def _content(self) -> Iterator[bytes]:
        """Its bytes, in pieces that are not empty."""


class PlainLink(Link):
    """Ends where a header of the same kind begins."""

    def __init__(self, reader: ByteReader, kind: str | None) -> None:
        header = _HEADERS.get(kind or "")
        self._header = re.compile(header, re.DOTALL) if header else None
        super().__init__(reader)

    def _content(self) -> Iterator[bytes]:
        first = True
        while window := self._reader.peek_all(_LONGEST + 1):
            nothing_follows = len(window) <= _LONGEST
            end = len(window) if nothing_follows else len(window) - _LONGEST
            if self._header and (found := self._header.search(window, int(first))):
                end = min(end, found.start())
            if end == 0:
                return
            first = False
            yield self._reader.read(end)
