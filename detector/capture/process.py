"""A capture program while it runs."""

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import structlog

from detector.capture.program import CaptureProgram
from detector.errors import SourceError

GRACE_S: Final = 0.3
"""How long a program gets to end by itself, and again after it was told to."""
STDERR_LINES: Final = 3
"""How much of what the program prints is kept for an error's message."""


class RunningProgram:
    """What a program writes."""

    def __init__(
        self, process: Process, stdout: asyncio.StreamReader, reading: asyncio.Task[deque[str]]
    ) -> None:
        self.pid = process.pid
        self.stdout = stdout
        self._reading = reading

    async def last_words(self) -> str:
        """The last lines of its stderr, if it has ended."""
        await asyncio.wait([self._reading], timeout=GRACE_S)
        return " / ".join(self._reading.result()) if self._reading.done() else ""


@contextlib.asynccontextmanager
async def running(
    program: CaptureProgram, log: structlog.typing.FilteringBoundLogger
) -> AsyncIterator[RunningProgram]:
    """Start the program, and end it with the context.

    Raises:
        SourceError: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            process_group=0,  # Ctrl-C is for the daemon, which ends its programs in order
        )
    except OSError as error:
        raise SourceError(f"the {program.name} cannot be started: {error}") from None
    if process.stdout is None or process.stderr is None:
        raise SourceError(f"the {program.name} has no output")
    reading = asyncio.create_task(
        _read_stderr(process.stderr, log.bind(program=program.name)),
        name=f"{program.name} stderr",
    )
    try:
        yield RunningProgram(process, process.stdout, reading)
    finally:
        await _end(process)
        reading.cancel()


async def _read_stderr(
    stderr: asyncio.StreamReader, log: structlog.typing.FilteringBoundLogger
) -> deque[str]:
    """Log what comes; return the last lines."""
    lines: deque[str] = deque(maxlen=STDERR_LINES)
    while data := await stderr.read(4096):
        for line in data.decode(errors="replace").splitlines():
            if line.strip():
                lines.append(line)
                log.debug("capture program", line=line)
    return lines


async def _end(process: Process) -> None:
    """End the program within a second, though it hang in a sound library."""
    if process.stdin:
        process.stdin.close()
    for insist in (None, process.terminate, process.kill):
        if insist:
            with contextlib.suppress(ProcessLookupError):
                insist()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                if process.stdout:
                    await process.stdout.read()  # else a full pipe would keep it from ending
                await process.wait()
                return
