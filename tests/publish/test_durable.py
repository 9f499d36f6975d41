"""The outbox on disk, from one life to the next."""

import asyncio
import random
import resource
from pathlib import Path

import pytest

from detector.errors import StateError
from detector.publish.outbox import tables
from detector.publish.outbox.store import NAME, look
from tests.publish.helpers import Logs, event, gap
from tests.publish.outboxes import dead_letters, fill, left_in, opened, stored, take_all, until


async def test_what_was_put_in_is_there_in_another_life(tmp_path: Path) -> None:
    async with opened(tmp_path / "made" / "for it") as outbox:
        outbox.put(event(1), 1.0)
        outbox.put(gap(), 2.0)
        outbox.put(event(2, label="siren", name="Sirène"), 3.0)
        assert len(outbox) == 3
        assert outbox.oldest() is None, "nothing is sent before it is stored"
        await stored(outbox)
        first = outbox.oldest()
    async with opened(tmp_path / "made" / "for it") as outbox:
        assert len(outbox) == 3
        found = await take_all(outbox)
        assert found[0] == first
        assert [w.message.body for w in found] == [
            m.to_json() for m in (event(1), gap(), event(2, label="siren", name="Sirène"))
        ]
        assert [w.since for w in found] == [1.0, 2.0, 3.0]
    assert await left_in(tmp_path / "made" / "for it") == []


async def test_the_newest_sequence_number_is_kept_though_its_event_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        assert outbox.sequence("hall") == 0
        for sequence in (1, 2, 3):
            outbox.put(event(sequence), 0.0)
        outbox.put(event(9, source="yard"), 0.0)
        await take_all(outbox)
    async with opened(tmp_path) as outbox:
        assert (outbox.sequence("hall"), outbox.sequence("yard")) == (3, 9)
        outbox.put(event(4), 0.0)
    async with opened(tmp_path) as outbox:
        assert outbox.sequence("hall") == 4


async def test_far_more_than_is_held_in_memory_comes_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path, rows=10_000) as outbox:
        for sequence in range(1, 3001):
            outbox.put(event(sequence), 0.0)
            if sequence == 1500:
                await stored(outbox)
        assert [w.message.sequence for w in await take_all(outbox)] == list(range(1, 3001))


async def test_what_is_on_its_way_is_passed_over_and_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        for sequence in (1, 2, 3):
            outbox.put(event(sequence), 0.0)
        await stored(outbox)
        first, second = outbox.oldest(), outbox.oldest({1})
        assert first is not None
        assert second is not None
        assert (first.ticket, second.ticket) == (1, 2)
        outbox.remove(2)  # confirmed out of order
        third = outbox.oldest({1})
        assert third is not None
        assert third.ticket == 3
    assert await left_in(tmp_path) == [1, 3]


@pytest.mark.parametrize("bound", ["rows", "bytes"])
async def test_beyond_its_bounds_the_oldest_is_dropped_and_counted_for_good(
    tmp_path: Path, bound: str
) -> None:
    bounds = {"rows": 50} if bound == "rows" else {"size": 50 * 550}
    async with opened(tmp_path, **bounds) as outbox:
        for sequence in range(1, 201):
            outbox.put(event(sequence), 0.0)
        await stored(outbox)
        left = len(outbox)
        assert 40 <= left <= 60
        assert outbox.dropped == 200 - left
        assert [w.message.sequence for w in await take_all(outbox)] == list(range(201 - left, 201))
    async with opened(tmp_path, **bounds) as outbox:
        assert outbox.dropped == 200 - left


async def test_a_dead_letter_is_kept_with_reason_and_time_and_the_queue_moves_on(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as outbox:
        for sequence in (1, 2):
            outbox.put(event(sequence), 0.0)
        await stored(outbox)
        poison = outbox.oldest()
        assert poison is not None
        outbox.reject(poison, "detector/attic/hall/events/dog_bark", "Not authorized")
        following = outbox.oldest()
        assert following is not None
        assert following.message.sequence == 2
        assert (outbox.rejected, len(outbox)) == (1, 1)
    (dead,) = dead_letters(tmp_path)
    assert (dead.topic, dead.reason) == ("detector/attic/hall/events/dog_bark", "Not authorized")
    assert dead.body == event(1).to_json()
    assert dead.at.startswith("20")
    async with opened(tmp_path) as outbox:
        assert outbox.rejected == outbox.stats().dead_letters == 1


async def test_dead_letters_are_bounded_and_all_of_them_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_DEAD_ROWS", 5)
    async with opened(tmp_path) as outbox:
        for sequence in range(1, 21):
            outbox.put(event(sequence), 0.0)
        await stored(outbox)
        for sequence in range(1, 21):
            waiting = outbox.oldest()
            assert waiting is not None
            outbox.reject(waiting, "topic", f"{sequence}")
    assert [dead.reason for dead in dead_letters(tmp_path)] == ["16", "17", "18", "19", "20"]
    async with opened(tmp_path) as outbox:
        assert outbox.rejected == 20


async def test_retained_topics_are_remembered_until_they_are_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        outbox.add_retained_topic("a/state/dog")
        outbox.add_retained_topic("a/state/cat")
    async with opened(tmp_path) as outbox:
        assert set(outbox.retained_topics) == {"a/state/dog", "a/state/cat"}
        outbox.discard_retained_topic("a/state/dog")
        outbox.add_retained_topic("a/state/dog")
        outbox.discard_retained_topic("a/state/cat")
    async with opened(tmp_path) as outbox:
        assert set(outbox.retained_topics) == {"a/state/dog"}


async def test_what_waited_while_the_machine_was_off_has_waited_long(tmp_path: Path) -> None:
    async with opened(tmp_path, boot="first") as outbox:
        outbox.put(event(1), 50.0)
    async with opened(tmp_path, boot="second") as outbox:
        outbox.put(event(2), 3.0)
        assert [w.since for w in await take_all(outbox)] == [float("-inf"), 3.0]


async def test_another_detector_in_the_same_folder_is_refused_and_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        outbox.put(event(1), 0.0)
        with pytest.raises(StateError, match=r"another detector uses it.*state_dir"):
            async with opened(tmp_path):
                pass
    assert await left_in(tmp_path) == [1]


async def test_a_look_tells_what_waits_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "not made" / "yet"
    assert look(folder) == f"{folder}: nothing is in it yet"
    assert not folder.parent.exists()
    await fill(tmp_path, 1, 3)
    assert look(tmp_path) == f"{tmp_path}: 3 events wait, 0 dead letters"
    async with opened(tmp_path) as outbox:
        assert look(tmp_path) == f"{tmp_path}: a detector is using it"
        await until(outbox.oldest)
        poison = outbox.oldest()
        assert poison is not None
        outbox.reject(poison, "topic", "reason")
    assert look(tmp_path) == f"{tmp_path}: 2 events wait, 1 dead letters"
    (tmp_path / NAME).write_bytes(b"nonsense" * 1000)
    with pytest.raises(StateError, match="not a database"):
        look(tmp_path)
    with pytest.raises(StateError, match="is not a directory"):
        look(tmp_path / NAME / "below a file")


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_events_failures_and_lives_loses_and_repeats_nothing(
    tmp_path: Path, seed: int, logs: Logs
) -> None:
    rng = random.Random(seed)  # noqa: S311
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    put, delivered = 0, list[int]()
    try:
        for _life in range(3):
            async with opened(tmp_path, first_retry_s=0.01) as outbox:
                on_their_way: dict[int, int] = {}
                for _step in range(120):
                    match rng.choice(["put", "put", "send", "send", "confirm", "wait", "disk"]):
                        case "put":
                            for _ in range(rng.choice([1, 1, 30])):
                                put += 1
                                outbox.put(event(put), 0.0)
                        case "send":
                            waiting = outbox.oldest(on_their_way)
                            if waiting is not None and len(on_their_way) < 20:
                                on_their_way[waiting.ticket] = waiting.message.sequence
                        case "confirm" if on_their_way:
                            ticket = rng.choice(list(on_their_way))
                            delivered.append(on_their_way.pop(ticket))
                            outbox.remove(ticket)
                        case "wait":
                            await asyncio.sleep(rng.choice([0, 0.001, 0.02]))
                        case "disk":
                            limit = rng.choice([1, limits[0]])
                            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
                        case _:
                            pass
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
                await stored(outbox)
                assert len(outbox) == put - len(delivered)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = await left_in(tmp_path)
    assert left == sorted(left)
    assert sorted(delivered + left) == list(range(1, put + 1))
