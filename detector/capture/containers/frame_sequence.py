"""MP3 and AAC without a container: one frame after the other, and nothing that tells the time.

Where bytes between two frames are none, the sound that they held is lost. How much that was, only
their number tells: libavformat would go on as if nothing had been there.
"""

import re
from collections.abc import Iterator
from typing import Final

from detector.capture.containers.byte_reader import ByteReader
from detector.capture.containers.links import Link
from detector.capture.containers.mpeg import HEADER_BYTES, MpegFrame, ReadHeader, follow_one_another

_NEXT: Final = re.compile(
    rb"ID3[\x02-\x04][\x00-\x09]|\xff[\xe2-\xff][\x10-\xef].(?:.{9}|.{17}|.{32})(?:Xing|Info)",
    re.DOTALL,
)
"""What begins another recording. An encoder's first MP3 frame tells how much silence it put before
the sound and behind it: unless it is found, that silence is heard in the middle."""
_NEXT_BYTES: Final = 64
_ID3V1: Final = b"TAG"
_ID3V1_BYTES: Final = 128
_APE: Final = b"APETAGEX"
_TAGS: Final = (_ID3V1, _APE, b"LYRICSBEGIN", b"3DI")
"""What stands behind the sound, or between joined recordings."""
_CHAIN: Final = 3
"""So many frames show that the place is found again where sound goes on."""
_WINDOW: Final = 1 << 15
"""Bytes that hold so many frames of any kind."""
_SHORTEST_TAIL_S: Final = 0.1
"""Fewer bytes than hold this, behind the last frame, are no loss."""


class FrameSequence(Link):
    """Gives out frames alone."""

    def __init__(self, reader: ByteReader, read: ReadHeader, within: Link | None = None) -> None:
        """Begin where the reader stands: before a frame that `read` can read the header of.

        Args:
            reader: gives the frames.
            read: reads a frame's header.
            within: the link that the reader reads, if they have a container all the same.
        """
        super().__init__(reader)
        self._read_header, self._within = read, within
        self._given, self._seconds = 0, 0.0
        """Bytes of frames, and how long these last."""
        self._losses: list[tuple[int, float]] = []
        """How many bytes had been given out where something was lost, and how long that lasted."""

    def lost_s(self, position: int | None) -> float:
        """How much was lost before a place since it was last asked."""
        due = [loss for loss in self._losses if position is None or loss[0] <= position]
        self._losses = self._losses[len(due) :]
        return sum(seconds for _, seconds in due)

    def _content(self) -> Iterator[bytes]:
        first = True
        while frame := self._frame_here():
            if not first and _NEXT.match(self._reader.peek(_NEXT_BYTES)):
                break
            first = False
            following = self._reader.peek(frame.size + _NEXT_BYTES)[frame.size :]
            if self._goes_on(following, frame) or not self._pass_to_the_next(frame):
                self._given += frame.size
                self._seconds += frame.seconds
                yield self._take(frame.size)
                self._skip_tag()
        self._pass_the_rest()
        if self._within:
            self._within.drain()
            self.fault, self.missing_share = self._within.fault, self._within.missing_share

    def _frame_here(self) -> MpegFrame | None:
        return self._read_header(self._reader.peek(HEADER_BYTES)[:HEADER_BYTES])

    def _goes_on(self, following: bytes, frame: MpegFrame) -> bool:
        """Whether what follows a frame is another one, or what may stand there."""
        after = self._read_header(following[:HEADER_BYTES])
        if after:
            return after.kind == frame.kind or _NEXT.match(following) is not None
        return not following or following.startswith((*_TAGS, b"ID3"))

    def _take(self, size: int) -> bytes:
        parts = []
        while size and (data := self._reader.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _skip_tag(self) -> None:
        head = self._reader.peek(_NEXT_BYTES)
        size = 0
        if head.startswith(_ID3V1):
            size = _ID3V1_BYTES
        elif head.startswith(_APE):
            size = 32 + int.from_bytes(head[12:16], "little")
        self._take(size)

    def _pass_to_the_next(self, broken: MpegFrame) -> bool:
        """Pass over what is no frame, and over the frame before it, which may lack its end.

        Returns:
            False if no frames follow: nothing was passed over.
        """
        passed, search_from = 0, 1
        while True:
            window = self._reader.peek(_WINDOW)
            at = window.find(b"\xff", search_from)
            while at >= 0 and not self._begins_again(window, at, broken):
                at = window.find(b"\xff", at + 1)
            if at < 0 and len(window) < _WINDOW:
                break
            step = at if at >= 0 else _WINDOW // 2
            self._take(step)
            passed, search_from = passed + step, 0
            if at >= 0:
                break
        self._lose(passed, broken.size / broken.seconds)
        return passed > 0

    def _begins_again(self, window: bytes, at: int, broken: MpegFrame) -> bool:
        frame = self._read_header(window[at : at + HEADER_BYTES])
        return (
            frame is not None
            and frame.kind == broken.kind
            and follow_one_another(window, at, self._read_header, _CHAIN)
        )

    def _pass_the_rest(self) -> None:
        if _NEXT.match(self._reader.peek(_NEXT_BYTES)):
            return
        passed = 0
        while data := self._reader.read(_WINDOW):
            passed += len(data)
        if self._seconds and passed * self._seconds > _SHORTEST_TAIL_S * self._given:
            self._lose(passed, self._given / self._seconds)

    def _lose(self, size: int, bytes_per_second: float) -> None:
        rate = self._given / self._seconds if self._seconds else bytes_per_second
        if size:
            self._losses.append((self._given, size / rate))
