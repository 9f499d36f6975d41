"""WAV, RF64, BW64 and Wave64, whatever their headers say of their length.

Who writes to a pipe cannot go back to fill in a size, and 32 bits end at 4 GiB. So a `data` chunk
ends where other chunks follow, another recording begins, or the bytes end.
Formats: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0"; RF64:
EBU Tech 3306; Wave64: Sony Pictures Digital, "Sony Wave64", in which names have 16 bytes, sizes 64
bits with the chunk's own header, and chunks begin at multiples of 8.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

from detector.capture.containers.byte_reader import ByteReader
from detector.capture.containers.links import Link

_UNKNOWN: Final = 0xFFFFFFFF
_WRAP: Final = 1 << 32
_JOINED: Final = re.compile(rb"(?:RIFF|RIFX|RF64|BW64)....WAVE|riff\x2e\x91\xcf\x11", re.DOTALL)
_HEADER_BYTES: Final = 12
_FORM_AT: Final = 8
_WAVE64: Final = b"riff\x2e\x91\xcf\x11"
_W64_HEADER_BYTES: Final = 40
_W64_CHUNK: Final = struct.Struct("<16sQ")
_KNOWN: Final = frozenset(
    (
        *(b"LIST", b"list", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"JUNK", b"junk"),
        *(b"PAD ", b"FLLR", b"iXML", b"axml", b"aXML", b"_PMX", b"XMP ", b"PEAK", b"inst", b"plst"),
        *(b"DISP", b"acid", b"strc", b"cart", b"levl", b"chna", b"umid", b"minf", b"elm1", b"regn"),
        *(b"afsp", b"CSET", b"INFO", b"note", b"labl", b"ltxt", b"MD5 ", b"LGWV", b"ResU", b"r64m"),
    )
)
"""Chunks that stand behind the sound in files of many programs."""
_NAME: Final = re.compile(rb"[A-Za-z0-9_][ -~]{3}")
_PADDING_BYTES: Final = 7
"""At most, behind the last chunk."""
_PCM_TAGS: Final = (b"\x01\x00", b"\x03\x00", b"\xfe\xff")
"""Format tags of whole numbers, of floating-point ones, and of what is mostly one of them."""
_MPEG_TAGS: Final = (b"\x50\x00", b"\x55\x00")
"""Format tags of MPEG audio, and of layer III of it."""
_FAR: Final = 1 << 18
"""Bytes within which chunks of other names must lead to the end or to a known one."""
_LONGEST_FORMAT: Final = 4096


def _is_streamed(size: int) -> bool:
    """Whether it is a writer's way of saying that it did not know the size.

    0 (FFmpeg, GStreamer), 0x7FFFF000 (SoX), about 0x80000000 (arecord), 0xFFFFFFFF less a header.
    """
    near_2_gib = 0x7FFF0000 <= size <= 0x80001000  # noqa: PLR2004
    return size == 0 or near_2_gib or 0xFFFFFF00 <= size <= _UNKNOWN or size >= 1 << 62  # noqa: PLR2004


def _joined_at(window: bytes) -> int:
    """Where another recording begins; -1 if nowhere. Far faster than the expression alone."""
    at = window.find(b"WAVE")
    while at >= 0:
        if at >= _FORM_AT and _JOINED.match(window, at - _FORM_AT):
            return at - _FORM_AT
        at = window.find(b"WAVE", at + 1)
    return window.find(_WAVE64)


class RiffLink(Link):
    """One recording as a WAV of unknown length, so that libavformat reads all of it."""

    def __init__(self, reader: ByteReader) -> None:
        """Read the header, up to the sound."""
        super().__init__(reader)
        self._order = ">" if reader.peek(4).startswith(b"RIFX") else "<"
        self._form, self._promised, self._padding = (
            self._wave64() if reader.peek(4).startswith(b"riff") else self._riff(self._order)
        )
        self.holds_mpeg = self._form[:2] in _MPEG_TAGS
        """Whether the sound is MPEG audio, which needs no header: none is given out."""
        self.holds_pcm = self._form[:2] in _PCM_TAGS
        """Whether it is made of samples, of which any number can be decoded at once."""

    def _content(self) -> Iterator[bytes]:
        order, form = self._order, self._form
        if not form:
            self.fault = "is damaged or truncated: no sound follows its header"
            return
        if not self.holds_mpeg:
            unknown = struct.pack("<I", _UNKNOWN)
            yield (b"RIFX" if order == ">" else b"RIFF") + unknown + b"WAVE"
            yield b"fmt " + struct.pack(order + "I", len(form)) + form + b"data" + unknown
        yield from self._sound(self._promised)

    def _riff(self, order: str) -> tuple[bytes, int, int]:
        """Read up to the sound.

        Returns:
            The format (empty if no sound follows), how many bytes of sound are promised, and how
            many fill them up.
        """
        long = self._exactly(_HEADER_BYTES).startswith((b"RF64", b"BW64"))
        form, long_size = b"", 0
        while len(header := self._exactly(8)) == 8:  # noqa: PLR2004
            name, size = struct.unpack(order + "4sI", header)
            if name == b"data":
                return form, long_size if long and size == _UNKNOWN else size, size % 2
            body = self._exactly(size) if size <= _LONGEST_FORMAT else b""
            if name == b"fmt ":
                form = body
            elif name == b"ds64" and len(body) >= 16:  # noqa: PLR2004
                long_size = struct.unpack_from("<Q", body, 8)[0]
            self._skip(size - len(body) + size % 2)
        return b"", 0, 0

    def _wave64(self) -> tuple[bytes, int, int]:
        self._exactly(_W64_HEADER_BYTES)
        form = b""
        while len(header := self._exactly(_W64_CHUNK.size)) == _W64_CHUNK.size:
            name, size = _W64_CHUNK.unpack(header)
            size = max(0, size - _W64_CHUNK.size)
            if name.startswith(b"data"):
                return form, size, -size % 8
            body = self._exactly(size) if size <= _LONGEST_FORMAT else b""
            if name.startswith(b"fmt "):
                form = body
            self._skip(size - len(body) + -size % 8)
        return b"", 0, 0

    def _sound(self, promised: int) -> Iterator[bytes]:
        """What the chunk holds; afterwards the reader stands at the next recording, or the end."""
        count = 0
        streamed = _is_streamed(promised)
        end = _WRAP << 32 if streamed else promised
        while window := self._reader.peek_all(_HEADER_BYTES + 1):
            whole = len(window) <= _HEADER_BYTES
            size = len(window) if whole else len(window) - _HEADER_BYTES
            joined = _joined_at(window)
            if joined == 0:
                break
            size = min(size, joined) if joined > 0 else size
            if count == end:
                if self._other_chunks_follow():
                    self._skip_chunks()
                    break
                # The size is wrong; if it is the rest of a division by 2^32, this is its next end.
                end += _WRAP
            size = min(size, end - count)
            count += size
            yield self._reader.read(size)
        if count < end and not streamed and end == promised:
            self.fault = (
                f"is truncated: its header promises {promised} bytes of audio, only {count} are "
                "there"
            )
            self.missing_share = (promised - count) / count if count else 0.0

    def _other_chunks_follow(self) -> bool:
        if len(self._reader.peek(_PADDING_BYTES + 1)) <= _PADDING_BYTES:
            return True
        at = self._padding
        while at < _FAR:
            header = self._reader.peek(at + 8)[at : at + 8]
            if not header:
                return True
            if _JOINED.match(self._reader.peek(at + _HEADER_BYTES), at) or header[:4] in _KNOWN:
                return True
            if len(header) < 8 or not _NAME.match(header):  # noqa: PLR2004
                return False
            size = struct.unpack("<I", header[4:])[0]
            at += 8 + size + size % 2
            if at < _FAR and len(self._reader.peek(at)) < at - 1:
                return False
        return False

    def _skip_chunks(self) -> None:
        self._skip(self._padding)
        while header := self._reader.peek(_HEADER_BYTES)[:8]:
            if _JOINED.match(self._reader.peek(_HEADER_BYTES)):
                return
            size = struct.unpack("<I", header[4:])[0] if len(header) == 8 else 0  # noqa: PLR2004
            self._skip(8 + size + size % 2)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size and (data := self._reader.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size and (data := self._reader.read(min(size, 1 << 16))):
            size -= len(data)
