"""What the reader tells the daemon."""

import re
import threading
import time
from typing import BinaryIO, Final

import numpy as np

from detector.capture.programs.framing import (
    Header,
    Kind,
    StreamFormat,
    pack_format,
    pack_header,
    pack_text,
)
from detector.records import FloatArray

BLOCK_S: Final = 0.1
"""How much sound is handed on at once, at least: a thousand small records a second would keep the
daemon busy."""
_MAX_FRAMES: Final = 1 << 16
_NOTES_AT_ONCE: Final = 10
_NOTE_EVERY_S: Final = 10.0
_LONGEST_NOTE: Final = 300
"""Characters."""
_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s]+@")


class Output:
    """Writes records. Notes may come from any thread."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._format: StreamFormat | None = None
        self._told_format = False
        self._next_frame = 0
        self._blocks: list[FloatArray] = []
        self._frames = 0
        self._captured_ns = 0
        self._after_overflow = False
        self._notes, self._lines = NoteLimit(), NoteLimit()

    def begin(self, rate: int, channels: int, codec: str = "") -> None:
        """The sound that follows is of this kind, and begins anew."""
        self.flush()
        self._format, self._told_format = StreamFormat(rate, channels, codec), False

    def audio(self, frames: FloatArray, captured_ns: int, *, after_overflow: bool = False) -> None:
        """Hand on (n, channels) float32 frames.

        Args:
            frames: those that follow the last ones.
            captured_ns: when the last of them had been captured, on the boottime clock.
            after_overflow: whether an unknown number was lost before them.
        """
        if after_overflow:
            self.flush()
            self._after_overflow = True
        if not len(frames) or self._format is None:
            return
        self._blocks.append(frames)
        self._frames += len(frames)
        self._captured_ns = captured_ns
        if self._frames >= BLOCK_S * self._format.rate:
            self.flush()

    def skip(self, frames: int) -> None:
        """So many frames were lost."""
        self.flush()
        self._next_frame += frames

    def flush(self) -> None:
        """Hand on what is there."""
        if not self._frames or self._format is None:
            return
        if not self._told_format:
            self._write(pack_format(self._format))
            self._told_format, self._next_frame = True, 0
        frames = np.concatenate(self._blocks) if len(self._blocks) > 1 else self._blocks[0]
        end = self._next_frame + len(frames)
        for first in range(0, len(frames), _MAX_FRAMES):
            part = frames[first : first + _MAX_FRAMES]
            kind = Kind.AUDIO_AFTER_OVERFLOW if self._after_overflow else Kind.AUDIO
            self._after_overflow = False
            after = end - self._next_frame - len(part)
            captured_ns = self._captured_ns - after * 1_000_000_000 // self._format.rate
            header = Header(kind, self._next_frame, captured_ns, 0, len(part))
            self._write(pack_header(header) + part.astype("<f4", copy=False).tobytes())
            self._next_frame += len(part)
        self._blocks, self._frames = [], 0

    def ended(self, why: str) -> None:
        """There is no sound any more; unless that is known, and why."""
        self.flush()
        if self._told_format:
            self.offline(why)

    def offline(self, why: str) -> None:
        """There is no sound for now. What comes next begins anew."""
        self.flush()
        self._told_format = False
        self._write(pack_text(Kind.OFFLINE, plain(why)))

    def error(self, why: str) -> None:
        """The reader ends."""
        self.flush()
        self._write(pack_text(Kind.ERROR, plain(why)))

    def note(self, text: str) -> None:
        """Something for the log, unless there was too much already."""
        self._log(text, self._notes)

    def printed(self, line: str) -> None:
        """What another program printed, for the log; the same."""
        self._log(line, self._lines)

    def _log(self, text: str, limit: "NoteLimit") -> None:
        for line in limit.pass_on(text, time.monotonic()):
            self._write(pack_text(Kind.NOTE, plain(line)))

    def _write(self, record: bytes) -> None:
        with self._lock:
            self._out.write(record)
            self._out.flush()


class NoteLimit:
    """Lets ten lines through at once, and one every ten seconds."""

    def __init__(self) -> None:
        self._allowed = float(_NOTES_AT_ONCE)
        self._at_s: float | None = None
        self._left_out = 0

    def pass_on(self, text: str, now_s: float) -> list[str]:
        """What may be told now, of this line and those that were left out."""
        if self._at_s is not None:
            more = (now_s - self._at_s) / _NOTE_EVERY_S
            self._allowed = min(self._allowed + more, float(_NOTES_AT_ONCE))
        self._at_s = now_s
        if self._allowed < 1:
            self._left_out += 1
            return []
        self._allowed -= 1
        left_out, self._left_out = self._left_out, 0
        return [*([f"({left_out} lines are left out)"] if left_out else []), text]


def plain(text: str) -> str:
    """One line without a password, of a bounded length, that no terminal obeys."""
    text = _PASSWORD.sub("***@", "".join(c if c.isprintable() else " " for c in text)).strip()
    return text if len(text) <= _LONGEST_NOTE else f"{text[:_LONGEST_NOTE]}…"
