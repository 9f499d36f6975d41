"""SIGINT and SIGTERM: the first asks for an orderly stop, the next one ends the process at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from types import FrameType
from typing import Final

import structlog

log = structlog.get_logger()

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that the first signal sets; the handlers are put back afterwards.

    After the next one the exit code is 128 + its number, as shells have it. What waits for the
    broker is on the disk by then, so nothing is lost by it.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    asked = False

    def begin_to_stop() -> None:
        stop.set()
        log.info("stopping; once more ends at once")

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:  # not by way of the event loop, which may be what hangs
            os._exit(128 + number)
        asked = True
        loop.call_soon_threadsafe(begin_to_stop)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
