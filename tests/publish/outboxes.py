"""Outboxes on a disk, and what is left in them."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detector.publish.outbox.changes import DeadLetter
from detector.publish.outbox.durable import DurableOutbox
from detector.publish.outbox.entries import OutboxEntry
from detector.publish.outbox.store import Store
from tests.publish.helpers import event

PATIENCE_S = 20.0


def opened(folder: Path, rows: int = 10_000, size: int = 2**25, **options: Any) -> DurableOutbox:
    return DurableOutbox(folder, rows, size, **({"first_retry_s": 0.05} | options))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing tells a test of the thread's work
            await asyncio.sleep(0.002)


async def stored(outbox: DurableOutbox) -> None:
    await until(lambda: not outbox.unstored)


async def take_all(outbox: DurableOutbox) -> list[OutboxEntry]:
    """All that wait, in the order in which they are to be sent."""
    found: list[OutboxEntry] = []
    while len(outbox):
        await until(lambda: outbox.oldest() or not len(outbox))
        if (waiting := outbox.oldest()) is not None:
            found.append(waiting)
            outbox.remove(waiting.ticket)
    return found


async def left_in(folder: Path) -> list[int]:
    """Sequence numbers that the next life finds."""
    async with opened(folder) as outbox:
        return [waiting.message.sequence for waiting in await take_all(outbox)]


async def fill(folder: Path, first: int, last: int) -> None:
    async with opened(folder) as outbox:
        for sequence in range(first, last + 1):
            outbox.put(event(sequence), 0.0)


def dead_letters(folder: Path) -> list[DeadLetter]:
    store = Store(folder, 1000, 2**25, "boot", lambda *_: None)
    with contextlib.closing(store):
        return store.dead_letters()
