"""Events as JSON lines, for pipes and people."""

import os
import sys
from typing import TextIO

from detector.publish.messages import EventMessage, GapMessage
from detector.publish.publisher import Publisher


class ConsolePublisher(Publisher):
    """Writes one JSON object a line. A gap is told from an event by its `reason`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, or to stdout."""
        self._stream = stream or sys.stdout
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the reader has gone (`detector replay … | head`): nothing more is written."""
        return self._closed

    def event(self, message: EventMessage) -> None:
        self._write(message.to_json())

    def gap(self, message: GapMessage) -> None:
        self._write(message.to_json())

    def _write(self, line: str) -> None:
        if self._closed:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._closed = True
            # What the stream still holds would be written, and complained of, at exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
