"""Ogg, page by page: where a chained recording begins, and whether the stream has its end.

Format: RFC 3533, section 6.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from detector.capture.containers.links import Link

_HEADER_BYTES: Final = 27
_MAGIC: Final = b"OggS\x00"
_FLAGS_AT: Final = 5
_BEGINS: Final = 2
_ENDS: Final = 4
_GRANULE_AT: Final = 6
_NO_GRANULE: Final = (1 << 64) - 1
"""No packet ends in the page."""
_SERIAL_AND_NUMBER: Final = struct.Struct("<II")
_SERIAL_AT: Final = 14
_CRC_AT: Final = 22
_SEGMENTS_AT: Final = 26
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""


class OggLink(Link):
    """One recording: it ends where, behind pages of sound, a stream begins."""

    def _content(self) -> Iterator[bytes]:
        """Give out the pages that are intact."""
        without_end: set[int] = set()
        numbers: dict[int, int] = {}
        beginning, any_sound = True, False
        while self._reader.peek(1):
            page = self._next_page()
            if not page:
                continue
            flags = page[_FLAGS_AT]
            serial, number = _SERIAL_AND_NUMBER.unpack_from(page, _SERIAL_AT)
            if flags & _BEGINS and not beginning:
                break
            beginning = beginning and bool(flags & _BEGINS)
            self._reader.read(len(page))
            without_end |= {serial}
            if flags & _ENDS:
                without_end -= {serial}
                if numbers.keys() <= {serial}:
                    self.end_frame = _granule(page)
                if number != numbers.get(serial, number - 1) + 1:
                    # Only in pages that are not the last one does libavformat heed the time.
                    page = _without_end(page)
            if number != numbers.get(serial, -1) + 1 and not any_sound:
                self.lost_beginning = True
            any_sound = any_sound or 0 < _granule(page) < _NO_GRANULE
            numbers[serial] = number
            yield page
        if without_end:
            self.fault = "is truncated: the stream has no end"

    def _next_page(self) -> bytes:
        """Look at the page that comes next, if it is whole; otherwise pass over what is there."""
        header = self._reader.peek(_HEADER_BYTES)
        if header.startswith(_MAGIC) and len(header) >= _HEADER_BYTES:
            size = _HEADER_BYTES + header[_SEGMENTS_AT]
            size += sum(self._reader.peek(size)[_HEADER_BYTES:size])
            page = self._reader.peek(size)[:size]
            if len(page) == size and page == _with_crc(page):
                return page
        window = self._reader.peek_all(_HEADER_BYTES)
        at = window.find(_MAGIC, 1)
        self._skip(at if at > 0 else max(1, len(window) - len(_MAGIC)))
        return b""

    def _skip(self, size: int) -> None:
        self._reader.read(size)


def _granule(page: bytes) -> int:
    """How many frames there are up to the page's end, in most codecs."""
    granule: int = struct.unpack_from("<Q", page, _GRANULE_AT)[0]
    return granule


def _without_end(page: bytes) -> bytes:
    flags = page[_FLAGS_AT] & ~_ENDS
    return _with_crc(page[:_FLAGS_AT] + bytes((flags,)) + page[_FLAGS_AT + 1 :])


def _with_crc(page: bytes) -> bytes:
    """Fill in the checksum: the polynomial of CRC-32, but with the highest bit first."""
    empty = page[:_CRC_AT] + bytes(4) + page[_CRC_AT + 4 :]
    reflected = zlib.crc32(empty.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    crc = int(f"{reflected:032b}"[::-1], 2)
    return empty[:_CRC_AT] + struct.pack("<I", crc) + empty[_CRC_AT + 4 :]
