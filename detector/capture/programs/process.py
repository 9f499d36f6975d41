"""A capture program while it runs."""

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import structlog

from detector.capture.programs.framing import (
    HEADER_BYTES,
    Header,
    Kind,
    payload_bytes,
    unpack_header,
)
from detector.capture.programs.program import CaptureProgram
from detector.errors import RefusedError, SourceError

GRACE_S: Final = 0.3
"""How long a program gets to end by itself, and again after it was told to."""
REAP_S: Final = 3.0
"""How long the kernel may take to end one that was killed: on a busy machine, a moment."""
STDERR_LINES: Final = 3
"""How much of what the program prints is kept for an error's message."""
LONGEST_LINE: Final = 4096


class RunningProgram:
    """What a program writes."""

    def __init__(
        self, name: str, pid: int, stdout: asyncio.StreamReader, reading: asyncio.Task[deque[str]]
    ) -> None:
        """Args: name: what people call it."""
        self.pid = pid
        self._name = name
        self._stdout = stdout
        self._reading = reading

    async def record(self, channels: int) -> tuple[Header, bytes]:
        """The next record, with its payload.

        Args:
            channels: of the stream, as its format says.

        Raises:
            SourceError: why the program ended.
            FramingError: it writes something else than records.
        """
        try:
            header = unpack_header(await self._stdout.readexactly(HEADER_BYTES))
            payload = await self._stdout.readexactly(payload_bytes(header, channels))
        except asyncio.IncompleteReadError:
            words = await self._last_words()
            raise SourceError(
                f"the {self._name} ended by itself{': ' if words else ''}{words}"
            ) from None
        if header.kind is Kind.REFUSED:
            raise RefusedError(payload.decode(errors="replace"))
        if header.kind is Kind.ERROR:
            raise SourceError(payload.decode(errors="replace"))
        return header, payload

    async def _last_words(self) -> str:
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
        process = await _start(program.command)
    except (OSError, ValueError) as error:  # the latter of a NUL among its arguments
        raise SourceError(f"the {program.name} cannot be started: {error}") from None
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise SourceError(f"the {program.name} has no input or output")
    process.stdin.write(program.request)
    reading = asyncio.create_task(
        _read_stderr(process.stderr, log.bind(program=program.name)),
        name=f"{program.name} stderr",
    )
    try:
        yield RunningProgram(program.name, process.pid, process.stdout, reading)
    finally:
        await _end(process)
        reading.cancel()


async def _read_stderr(
    stderr: asyncio.StreamReader, log: structlog.typing.FilteringBoundLogger
) -> deque[str]:
    """Log what comes, line by line; return the last lines."""
    lines: deque[str] = deque(maxlen=STDERR_LINES)
    unfinished = ""
    while data := await stderr.read(4096):
        *finished, unfinished = (unfinished + data.decode(errors="replace")).split("\n")
        if len(unfinished) > LONGEST_LINE:
            finished, unfinished = [*finished, unfinished], ""
        for line in filter(str.strip, finished):
            lines.append(line)
            log.debug("capture program", line=line)
    if unfinished.strip():
        lines.append(unfinished)
    return lines


async def _start(command: tuple[str, ...]) -> Process:
    """Start it; if that is cancelled, end what was begun."""
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            process_group=0,  # Ctrl-C is for the daemon, which ends its programs in order
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, ValueError):
            await _end(await starting)
        raise


async def _end(process: Process) -> None:
    """End the program within a second, though it hang in a sound library."""
    if process.stdin:
        process.stdin.close()
    for insist, patience_s in (
        (None, GRACE_S),
        (process.terminate, GRACE_S),
        (process.kill, REAP_S),
    ):
        if insist:
            with contextlib.suppress(ProcessLookupError):
                insist()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                if process.stdout:
                    await process.stdout.read()  # else a full pipe would keep it from ending
                await process.wait()
                return
