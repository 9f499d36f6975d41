"""Ogg, page by page: where a chained recording begins, and whether the stream has its end.

Format: RFC 3533, section 6.
"""

import struct
from collections.abc import Iterator
from typing import Final

from detector.capture.containers.links import Link

_HEADER_BYTES: Final = 27
_MAGIC: Final = b"OggS\x00"
_BEGINS: Final = 2
_ENDS: Final = 4


class OggLink(Link):
    """One recording: it ends where, behind pages of sound, a stream begins."""

    def _content(self) -> Iterator[bytes]:
        """Page by page, and what is none as it is: libavformat finds the next one."""
        without_end: set[int] = set()
        streams: set[int] = set()
        beginning = True
        while header := self._reader.peek(_HEADER_BYTES)[:_HEADER_BYTES]:
            if not header.startswith(_MAGIC) or len(header) < _HEADER_BYTES:
                yield self._up_to_a_page()
                continue
            flags, serial = header[5], struct.unpack_from("<I", header, 14)[0]
            if flags & _BEGINS and not beginning:
                break
            beginning = beginning and bool(flags & _BEGINS)
            streams |= {serial}
            without_end |= {serial}
            if flags & _ENDS:
                without_end -= {serial}
                if len(streams) == 1:
                    self.end_frame = struct.unpack_from("<Q", header, 6)[0]
            page = _HEADER_BYTES + header[26]
            page += sum(self._reader.peek(page)[_HEADER_BYTES:page])
            if len(self._reader.peek(page)) < page:
                without_end |= {serial}
            yield self._reader.read(page)
        if without_end:
            self.fault = "is truncated: the stream has no end"

    def _up_to_a_page(self) -> bytes:
        window = self._reader.peek(_HEADER_BYTES)
        at = window.find(_MAGIC, 1)
        if at < 0:
            at = max(1, len(window) - len(_MAGIC))
        return self._reader.read(at)
