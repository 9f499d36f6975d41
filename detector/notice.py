"""Waking whoever waits for something to have changed."""

import asyncio


class Notice:
    """Those who wait look at what has changed themselves, before and after.

    There is no state in between: whoever looks and then waits, without doing anything else in
    between, misses nothing.
    """

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def give(self) -> None:
        """Wake all who wait."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self) -> None:
        """Return after the next `give`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
