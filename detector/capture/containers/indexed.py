"""Containers that may have their index behind the sound, so that a demuxer must seek: MP4, CAF.

They are made of chunks that say how long they are, which tells where a joined one begins.
Formats: ISO/IEC 14496-12, 4.2; Apple, "Core Audio Format Specification".
"""

import io
import struct
from collections.abc import Iterator
from typing import Final

from detector.capture.containers.byte_reader import ByteReader
from detector.capture.containers.links import Link

INDEXED: Final = frozenset(("mov", "caf"))
"""libavformat's names of their demuxers."""
_BOX: Final = struct.Struct(">I4sQ")
_CHUNK: Final = struct.Struct(">4sQ")
_CAF_HEADER: Final = b"caff"
_CAF_HEADER_BYTES: Final = 8
_TO_THE_END: Final = (1 << 64) - 1


class IndexedLink(Link):
    """One recording of a chain in a file that can be sought in."""

    def __init__(self, reader: ByteReader, file: io.BufferedReader, kind: str) -> None:
        """Begin where the reader stands."""
        self._file, self._begin = file, reader.position
        self._size = file.seek(0, io.SEEK_END)
        self._walk = _box_bytes if kind == "mov" else _chunk_bytes
        super().__init__(reader)
        self._end = self._find_end()
        self.seek(0)

    def read(self, size: int, /) -> bytes:
        return self._file.read(max(0, min(size, self._end - self._file.tell())))

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place within it; -1 if there is no such place."""
        base = {io.SEEK_SET: self._begin, io.SEEK_CUR: self._file.tell()}.get(whence, self._end)
        if not self._begin <= base + offset <= self._end:
            return -1
        return self._file.seek(base + offset) - self._begin

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def drain(self) -> None:
        """Go to its end, and the reader with it."""
        self._reader.seek(self._file, self._end)

    def _content(self) -> Iterator[bytes]:
        yield from ()

    def _find_end(self) -> int:
        at = self._begin
        while at < self._size:
            self._file.seek(at)
            length = self._walk(self._file.read(_BOX.size), first=at == self._begin)
            if not length:
                return at
            if length == _TO_THE_END:
                return self._size
            if at + length > self._size:
                self.fault = f"is truncated: {at + length - self._size} bytes of it are missing"
                self.missing_share = (at + length - self._size) / (self._size - self._begin)
            at += length
        return self._size


def _box_bytes(header: bytes, *, first: bool) -> int:
    """How long an MP4 box is; 0 if another file begins with it, or it is none."""
    size, kind, long_size = _BOX.unpack(header.ljust(_BOX.size, b"\0"))
    if kind == b"ftyp" and not first:
        return 0
    if not kind.isalnum() and not kind.isascii():
        return 0
    if size == 0:
        return _TO_THE_END
    length: int = long_size if size == 1 else size
    return max(length, 8)


def _chunk_bytes(header: bytes, *, first: bool) -> int:
    """How long a CAF chunk is; 0 if another file begins with it."""
    if header.startswith(_CAF_HEADER):
        return _CAF_HEADER_BYTES if first else 0
    _, size = _CHUNK.unpack_from(header.ljust(_BOX.size, b"\0"))
    return _TO_THE_END if size == _TO_THE_END else _CHUNK.size + int(size)
