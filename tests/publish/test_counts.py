"""What is dropped, refused or lost is counted once, in this life and the next, and said."""

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.publish.mqtt.publisher import MqttPublisher
from detector.publish.outbox import contents
from detector.publish.outbox.durable import DurableOutbox
from detector.publish.outbox.memory import MemoryOutbox
from tests.broker import Broker
from tests.publish.helpers import NODE, Logs, delivering, event, publishing
from tests.publish.outboxes import (
    dead_letters,
    left_in,
    opened,
    stored,
    take_all,
    until,
)

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def unusable(folder: Path) -> Iterator[None]:
    """Nothing can be read or written in the folder."""
    aside = folder.with_name("aside")
    if folder.exists():
        folder.rename(aside)
    folder.write_text("")
    yield
    folder.unlink()
    if aside.exists():
        aside.rename(folder)


async def reject_next(outbox: DurableOutbox) -> None:
    await until(outbox.oldest)
    waiting = outbox.oldest()
    assert waiting is not None
    outbox.reject(waiting, "topic", "reason")


def test_a_dropped_event_that_is_refused_after_all_is_counted_once() -> None:
    outbox = MemoryOutbox(1)
    outbox.put(event(1), 0)
    on_its_way = outbox.oldest()
    assert on_its_way is not None
    outbox.put(event(2), 0)
    outbox.reject(on_its_way, "topic", "reason")
    assert (outbox.dropped, outbox.rejected) == (1, 0)


async def test_dead_letters_of_lives_that_began_without_the_disk_are_all_kept(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    for life in (1, 2):
        with unusable(folder):
            outbox = await contextlib.AsyncExitStack().enter_async_context(opened(folder))
            outbox.put(event(life), 0.0)
            await reject_next(outbox)
        await until(lambda: outbox.stats().storage == "ok")  # noqa: B023
        assert outbox.rejected == life
        await outbox.__aexit__(None, None, None)
    assert [dead.body for dead in dead_letters(folder)] == [
        event(life).to_json() for life in (1, 2)
    ]


async def test_an_event_refused_while_the_disk_comes_back_is_one_dead_letter(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    with unusable(folder):
        outbox = await contextlib.AsyncExitStack().enter_async_context(opened(folder))
        outbox.put(event(1), 0.0)
        outbox.put(event(2), 0.0)
        on_its_way = outbox.oldest()
        assert on_its_way is not None
    await stored(outbox)
    outbox.reject(on_its_way, "topic", "reason")
    assert [w.message.sequence for w in await take_all(outbox)] == [2]
    assert outbox.rejected == 1
    await outbox.__aexit__(None, None, None)
    assert await left_in(folder) == []
    assert len(dead_letters(folder)) == 1


async def test_dead_letters_beyond_what_memory_holds_are_counted_in_the_next_life_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr(contents, "DEAD_AT_ONCE", 3)
    folder = tmp_path / "state"
    with unusable(folder):
        outbox = await contextlib.AsyncExitStack().enter_async_context(opened(folder))
        for sequence in range(1, 11):
            outbox.put(event(sequence), 0.0)
            await reject_next(outbox)
        assert outbox.rejected == 10
    await until(lambda: outbox.stats().storage == "ok")
    assert outbox.rejected == 10
    await outbox.__aexit__(None, None, None)
    assert len([e for e in logs.at("error") if "too many dead letters" in e["event"]]) == 1
    async with opened(folder) as outbox:
        assert (outbox.rejected, outbox.stats().dead_letters) == (10, 3)


@pytest.mark.parametrize("seed", range(5))
async def test_each_drop_is_counted_once_wherever_it_happens(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    delivered = 0
    async with opened(tmp_path, rows=10) as outbox:
        for sequence in range(1, 301):
            outbox.put(event(sequence), 0.0)
            if rng.random() < 0.3 and (waiting := outbox.oldest()) is not None:
                outbox.remove(waiting.ticket)
                delivered += 1
            if rng.random() < 0.1:
                await asyncio.sleep(rng.choice([0, 0.001, 0.005]))
        await stored(outbox)
        await until(lambda: outbox.dropped + delivered + len(outbox) == 300)
    async with opened(tmp_path, rows=10) as outbox:
        assert outbox.dropped + delivered + len(outbox) == 300


async def test_what_an_earlier_life_has_dropped_is_not_said_again(
    tmp_path: Path, logs: Logs
) -> None:
    folder = tmp_path / "state"
    async with opened(folder, rows=5) as outbox:
        for sequence in range(1, 11):
            outbox.put(event(sequence, "end"), 0.0)
    with unusable(folder):
        outbox = await contextlib.AsyncExitStack().enter_async_context(opened(folder, rows=5))
        MqttPublisher(Broker(tmp_path).settings(), NODE, outbox)
    await until(lambda: outbox.dropped == 5)
    await until(lambda: outbox.stats().storage == "ok")
    await outbox.__aexit__(None, None, None)
    assert logs.at("warning") == []


@pytest.mark.broker
async def test_drops_are_said_wherever_they_happen(tmp_path: Path, logs: Logs) -> None:
    settings = Broker(tmp_path).settings(queue_events=5)
    async with delivering(settings, tmp_path / "state") as publisher:
        for sequence in range(1, 6):
            publisher.event(event(sequence))
        await until(lambda: not publisher.delivery().unstored_events)
        publisher.event(event(6))
        await until(lambda: publisher.dropped_events)
        assert [e["dropped_events"] for e in logs.at("warning") if "dropped" in e["event"]] == [1]


@pytest.mark.broker
async def test_a_state_does_not_wait_for_an_event_that_was_dropped(broker: Broker) -> None:
    topic = "detector/attic/hall/state/dog_bark"
    async with (
        broker.subscriber(topic, timeout=60) as seen,
        publishing(broker.settings(queue_events=2, timeout_s=30)) as publisher,
    ):
        publisher.declare("hall", ["dog_bark"])
        began = event(1)
        publisher.event(began)
        await seen.until(lambda s: s.last(topic) == "ON")
        assert await publisher.drain(5) == 0
        broker.hang()
        publisher.event(event(2, "end", segment=began.id))
        for sequence in range(3, 6):
            publisher.event(event(sequence, label="siren"))
        broker.wake()
        await seen.until(lambda s: s.last(topic) == "OFF")


def test_what_was_sent_while_nothing_could_be_stored_is_not_lost_with_the_process(
    tmp_path: Path,
) -> None:
    """Of 20 events that the disk does not take, 15 are delivered before the process is killed."""
    program = (
        "import asyncio, os, resource, sys\n"
        "from pathlib import Path\n"
        "from tests.publish.helpers import event\n"
        "from tests.publish.outboxes import opened, stored, until\n"
        "async def main():\n"
        "    async with opened(Path(sys.argv[1])) as outbox:\n"
        "        for sequence in range(1, 6):\n"
        "            outbox.put(event(sequence), 0.0)\n"
        "        await stored(outbox)\n"
        "        while outbox.oldest():\n"
        "            outbox.remove(outbox.oldest().ticket)\n"
        "        await until(lambda: len(outbox) == 0)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"  # the watermark's size
        "        for sequence in range(6, 26):\n"
        "            outbox.put(event(sequence), 0.0)\n"
        "        await until(lambda: outbox.stats().storage != 'ok')\n"
        "        for _ in range(15):\n"
        "            outbox.remove(outbox.oldest().ticket)\n"
        "        tried = outbox._disk.retry_at\n"
        "        await until(lambda: outbox._disk.retry_at > tried)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False, capture_output=True
    )
    assert ended.returncode == -9, ended.stderr

    async def lost() -> tuple[int, int]:
        async with opened(tmp_path) as outbox:
            return outbox.stats().lost_events, outbox.sequence("hall")

    assert asyncio.run(lost()) == (5, 25)
    assert asyncio.run(lost()) == (5, 25), "and they are not counted again"
