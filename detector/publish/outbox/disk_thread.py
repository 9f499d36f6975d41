"""A thread that may wait for a disk for ever, and keeps neither the event loop nor an exit waiting.

A process does not end before the threads of a ThreadPoolExecutor do, so that one disk that does
not answer would hold up every stop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class DiskThread:
    """Does one thing after the other, in the order in which they are asked for."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Have it done; the future holds what it returns or raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(error: Exception | None, result: T | None) -> None:
            if done.done():
                return  # nobody waits any more
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type] # of no use if it is None by error

        def attempt() -> None:
            error, result = None, None
            try:
                result = work()
            except Exception as problem:  # noqa: BLE001 - it is for whoever waits
                error = problem
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, error, result)

        self._work.put(attempt)
        return done

    def close(self) -> None:
        """End the thread once it has done what was asked for."""
        self._work.put(None)

    def _run(self) -> None:
        while (attempt := self._work.get()) is not None:
            attempt()
