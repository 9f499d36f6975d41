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


@contextlib.asynccontextmanager
async def running(
    program: CaptureProgram, log: structlog.typing.FilteringBoundLogger
) -> AsyncIterator[tuple[Process, deque[str]]]:
    """Start the program, and end it with the context.

    Returns:
        The process, whose stdout is to be read, and the last lines of its stderr.

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
    lines: deque[str] = deque(maxlen=STDERR_LINES)
    reading = asyncio.create_task(
        _read_stderr(process, lines, log.bind(program=program.name)), name=f"{program.name} stderr"
    )
    try:
        yield process, lines
    finally:
        await _end(process)
        reading.cancel()


async def _read_stderr(
    process: Process, lines: deque[str], log: structlog.typing.FilteringBoundLogger
) -> None:
    while process.stderr and (data := await process.stderr.read(4096)):
        for line in data.decode(errors="replace").splitlines():
            if line.strip():
                lines.append(line)
                log.debug("capture program", line=line)


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
