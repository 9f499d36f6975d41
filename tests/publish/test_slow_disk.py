"""A disk that does not answer, for a while or for ever: nobody waits for it.

A pipe in the place of a file stands for it: to open one waits until somebody opens its other end.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from detector.errors import StateError
from detector.publish.outbox import durable
from detector.publish.outbox.changes import Loaded, PendingChanges
from detector.publish.outbox.durable import DurableOutbox
from detector.publish.outbox.entries import OutboxEntry, QueuedMessage
from detector.publish.outbox.store import Store
from detector.publish.outbox.watermark import Watermark
from tests.broker import Broker
from tests.publish.helpers import Logs, delivering, event, publishing
from tests.publish.outboxes import fill, left_in, opened, stored, take_all, until

ROOT = Path(__file__).parents[2]


class Pipe:
    """In the place of the watermark, which is read first of all."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "watermark"
        self._content = self.path.read_bytes() if self.path.exists() else b""
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path)

    def answer(self) -> None:
        """Let whoever waits read what was there, and put the file back."""
        with self.path.open("wb") as pipe:
            self.path.unlink()
            if self._content:
                self.path.write_bytes(self._content)
            pipe.write(self._content)


@contextlib.asynccontextmanager
async def waiting_for(folder: Path) -> AsyncIterator[tuple[DurableOutbox, Pipe]]:
    pipe = Pipe(folder)
    try:
        async with opened(folder) as outbox:
            yield outbox, pipe
    finally:
        if pipe.path.is_fifo():
            pipe.answer()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "SLOW_S", 0.2)
    monkeypatch.setattr(durable, "FLUSH_S", 0.5)


async def test_a_beginning_does_not_wait_for_a_disk_that_does_not_answer(
    tmp_path: Path, logs: Logs
) -> None:
    began = time.monotonic()
    async with waiting_for(tmp_path) as (outbox, _):
        assert time.monotonic() - began < 2
        outbox.put(event(1), 0.0)
        outbox.put(event(2), 0.0)
        await until(outbox.oldest)
        assert [w.message.sequence for w in await take_all(outbox)] == [1, 2]
        assert "does not answer" in outbox.stats().storage
        began = time.monotonic()
    assert time.monotonic() - began < 2, "neither does the end"
    assert len(logs.at("error")) == 1


async def test_what_lies_on_the_disk_joins_in_once_it_answers(tmp_path: Path) -> None:
    await fill(tmp_path, 1, 3)
    async with waiting_for(tmp_path) as (outbox, pipe):
        outbox.put(event(4), 0.0)
        outbox.put(event(5), 0.0)
        await until(outbox.oldest)
        on_its_way = outbox.oldest()
        assert on_its_way is not None
        assert on_its_way.message.sequence == 4
        pipe.answer()
        await stored(outbox)
        outbox.remove(on_its_way.ticket)
        assert outbox.stats().storage == "ok"
        assert outbox.sequence("hall") == 5
    assert await left_in(tmp_path) == [1, 2, 3, 5]


async def test_what_an_earlier_life_left_on_is_taken_back_once_the_disk_answers(
    tmp_path: Path, broker: Broker
) -> None:
    gone = "detector/attic/hall/state/gone"
    async with broker.subscriber(gone) as seen:
        async with delivering(broker.settings(), tmp_path) as first:
            first.retain(gone, "ON")
            await seen.until(lambda s: s.on(gone) == ["ON"])
        async with (
            waiting_for(tmp_path) as (outbox, pipe),
            publishing(broker.settings(), outbox=outbox) as second,
        ):
            await until(lambda: second.connected)
            pipe.answer()
            await seen.until(lambda s: s.on(gone) == ["ON", "OFF", ""])


async def test_a_folder_that_is_taken_by_the_time_the_disk_answers_is_said(
    tmp_path: Path, logs: Logs
) -> None:
    async with waiting_for(tmp_path) as (outbox, pipe):
        async with opened(tmp_path / "other"):
            (tmp_path / "other" / "outbox.sqlite3").rename(tmp_path / "outbox.sqlite3")
            pipe.answer()
            await until(lambda: "another detector" in outbox.stats().storage)
        outbox.put(event(1), 0.0)
        await until(outbox.oldest)
        assert [e["event"] for e in logs.at("error")][1:] == [
            "the state directory is another detector's by now"
        ]


async def test_new_events_are_sent_from_memory_while_a_read_hangs_and_all_others_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read waits in the thread of the disk, as it does for a disk that does not answer."""
    answer = threading.Event()
    read = Store.read

    def hang(store: Store, after: int, most: int) -> Loaded:
        answer.wait()
        return read(store, after, most)

    await fill(tmp_path, 1, 1500)
    monkeypatch.setattr(Store, "read", hang)
    try:
        async with opened(tmp_path) as outbox:
            for sequence in (1501, 1502):
                outbox.put(event(sequence), 0.0)
            await until(outbox.oldest)
            sent = [entry.message.sequence for entry in await take_so_far(outbox)]
            assert sent == [1501, 1502], "they are in order"
            answer.set()
            sent += [entry.message.sequence for entry in await take_all(outbox)]
    finally:
        answer.set()
    assert sent == [1501, 1502, *range(1, 1501)], "nothing is lost, nothing comes twice"
    assert await left_in(tmp_path) == []


async def take_so_far(outbox: DurableOutbox) -> list[OutboxEntry]:
    found = []
    while (entry := outbox.oldest()) is not None:
        found.append(entry)
        outbox.remove(entry.ticket)
    return found


def test_a_process_ends_though_its_disk_does_not_answer(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from detector.publish.outbox import durable\n"
        "durable.SLOW_S = durable.FLUSH_S = 0.2\n"
        "async def main():\n"
        "    async with durable.DurableOutbox(Path(sys.argv[1]), 10, 2**20):\n"
        "        pass\n"
        "asyncio.run(main())\n"
    )
    pipe = Pipe(tmp_path)
    assert pipe.path.is_fifo()
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, timeout=20)


def test_nothing_is_written_where_another_detector_has_the_folder(tmp_path: Path) -> None:
    def batch(sequence: int) -> PendingChanges:
        added = OutboxEntry(sequence, QueuedMessage.of(event(sequence)), 0.0)
        return PendingChanges(added=[added], watermark=Watermark(sequence, {"hall": sequence}))

    with contextlib.closing(_store(tmp_path)) as first, contextlib.closing(_store(tmp_path)) as two:
        first.open()
        first.apply(batch(1))
        first.close()  # as after an error of the disk
        two.open()
        two.apply(batch(2))
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(StateError, match="another detector uses it"):
            first.apply(batch(100))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def _store(folder: Path) -> Store:
    return Store(folder, 10, 2**20, "boot", lambda *_: None)
