"""What a program writes to its stdout."""

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from typing import IO, Final

from detector.capture.reader.incoming import Incoming
from detector.capture.reader.origins import widen
from detector.capture.reader.output import Output, plain
from detector.errors import SourceError

OPEN_S: Final = 30.0
"""How long it may take to write the first byte: ssh connects, ffmpeg looks at what it gets."""
_LINES_AT_ONCE: Final = 20
"""Of what it prints faster than that is read, the last lines."""
_END_S: Final = 0.1
"""How long it gets to end by itself. The daemon waits for the reader for little longer."""


class Child:
    """A program. It is the only writer that there is, and the reader ends with it."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._last_lines: deque[str] = deque(maxlen=2)

    def writers(self, out: Output) -> Iterator[Incoming]:
        out.offline("")
        name = self._command[0]
        try:
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # so that what it starts can be ended with it
            )
        except OSError as error:
            raise SourceError(f"program {name!r} cannot be started: {error.strerror}") from None
        if process.stdout is None or process.stderr is None:
            raise SourceError(f"program {name!r} has no output")
        widen(process.stdout.fileno())
        reading = threading.Thread(target=self._read_stderr, args=(process.stderr, out))
        reading.daemon = True
        reading.start()

        def give_up() -> None:
            raise SourceError(f"program {name!r} writes nothing")

        yield Incoming(process.stdout.fileno(), quiet=out.flush, silent=give_up, silent_s=OPEN_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        reading.join(_END_S)
        raise SourceError(f"program {name!r} {self._how_it_ended(process.poll())}")

    def refuse(self, why: str, out: Output) -> None:  # noqa: ARG002
        """The reader ends, and the program with it.

        Raises:
            SourceError: always.
        """
        raise SourceError(f"program {self._command[0]!r}: {why}")

    def close(self) -> None:
        """End the program, and what it has started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(_END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _how_it_ended(self, code: int | None) -> str:
        words = "".join(f": {line}" for line in self._last_lines)
        if code is None:
            return f"has closed its output{words}"
        if code < 0:
            # Most real-time signals have no name.
            name = next((f" ({known.name})" for known in signal.Signals if known == -code), "")
            return f"was ended by signal {-code}{name}{words}"
        return f"has ended, with exit code {code}{words}"

    def _read_stderr(self, stderr: IO[bytes], out: Output) -> None:
        """Pass its messages on, as many as are allowed."""
        while data := os.read(stderr.fileno(), 1 << 16):
            for line in data.decode(errors="replace").splitlines()[-_LINES_AT_ONCE:]:
                if text := plain(line):
                    self._last_lines.append(text)
                    out.printed(text)
