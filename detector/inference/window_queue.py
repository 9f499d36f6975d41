"""Windows of one source that wait for one model: few, and never without end."""

import asyncio
from dataclasses import replace
from typing import Final

from detector.records import Cut, Window


class WaitingWindows:
    """A bounded queue between one source and one model.

    When the model cannot keep up, the oldest waiting window is skipped, so that what is answered
    is always recent. The window after it then counts as new what the skipped one would have shown:
    the hop grows, and no sound is lost from the account. No window is joined with one behind a cut.
    The windows that show nothing new before a cut are few, come at once and time what ends there:
    they are not skipped. When cuts pile up as well, the whole stretch between the two oldest is
    skipped, and they become one.
    """

    _CUTS: Final = 16
    """How many cuts may wait."""

    def __init__(self, limit: int) -> None:
        """`limit` is how many windows that show something new may wait between two cuts."""
        self._limit = limit
        self._items: list[Window | Cut] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.skipped = 0
        """Windows that were never scored."""

    def put(self, item: Window | Cut) -> None:
        """Add the next piece of work, at once."""
        self._items.append(item)
        if isinstance(item, Window) and item.new_samples:
            tail = self._items[-self._limit - 1 :]
            if len(tail) > self._limit and all(isinstance(i, Window) for i in tail):
                self._skip(len(self._items) - len(tail))
        self._join_cuts()
        self._wake()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed = True
        self._wake()

    async def get(self) -> Window | Cut | None:
        """Wait for the oldest piece of work; None after the last. For one reader."""
        while not self._items:
            if self._closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._items.pop(0)

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _skip(self, place: int) -> None:
        skipped, after = self._items[place : place + 2]
        if isinstance(skipped, Window) and isinstance(after, Window):
            new = skipped.new_samples + after.new_samples
            energy = skipped.new_samples * skipped.power + after.new_samples * after.power
            joined = replace(after, new_samples=new, power=energy / max(new, 1))
            self._items[place : place + 2] = [joined]
            self.skipped += 1

    def _join_cuts(self) -> None:
        """Keep the first cut, which ends what was answered; what lies before the next was not."""
        cuts = [place for place, item in enumerate(self._items) if isinstance(item, Cut)]
        if len(cuts) > self._CUTS:
            first, second = cuts[:2]
            del self._items[first + 1 : second + 1]
            self.skipped += second - first - 1
