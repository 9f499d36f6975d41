"""The outbox on disk, through all that can happen to a process and its disk.

Rows of the matrix of faults: 6 and 7 (in part), 8, 9, 10.
"""

import asyncio
import contextlib
import errno
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import StateError
from detector.publish import store as store_module
from detector.publish.ballast import Ballast
from detector.publish.store import NAME, look
from tests.killing import damaged
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
        assert [w.letter.body for w in found] == [
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
        assert [w.letter.sequence for w in await take_all(outbox)] == list(range(1, 3001))


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
        assert [w.letter.sequence for w in await take_all(outbox)] == list(range(201 - left, 201))
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
        assert following.letter.sequence == 2
        assert (outbox.rejected, len(outbox)) == (1, 1)
    (dead,) = dead_letters(tmp_path)
    assert (dead.topic, dead.reason) == ("detector/attic/hall/events/dog_bark", "Not authorized")
    assert dead.body == event(1).to_json()
    assert dead.at.startswith("20")
    async with opened(tmp_path) as outbox:
        assert outbox.rejected == outbox.stats()["dead_letters"] == 1


async def test_dead_letters_are_bounded_and_all_of_them_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_DEAD_ROWS", 5)
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
        outbox.remember("a/state/dog")
        outbox.remember("a/state/cat")
    async with opened(tmp_path) as outbox:
        assert set(outbox.told) == {"a/state/dog", "a/state/cat"}
        outbox.forget("a/state/dog")
        outbox.remember("a/state/dog")
        outbox.forget("a/state/cat")
    async with opened(tmp_path) as outbox:
        assert set(outbox.told) == {"a/state/dog"}


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


# -- row 7: a power cut


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as a killed process leaves them, with events in the database and in the log."""
    folder = tmp_path_factory.mktemp("torn")
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from detector.publish.durable import DurableOutbox\n"
        "from tests.publish.helpers import event\n"
        "async def main():\n"
        "    async with DurableOutbox(Path(sys.argv[1]), 1000, 2**25) as outbox:\n"
        "        for sequence in range(1, 301):\n"
        "            outbox.put(event(sequence), 0.0)\n"
        "            if sequence % 20 == 0:\n"
        "                while outbox.unstored:\n"
        "                    await asyncio.sleep(0.001)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=_ROOT, check=False)
    assert (folder / f"{NAME}-wal").stat().st_size > 50_000
    return folder


_ROOT = Path(__file__).parents[2]


async def test_whatever_is_cut_off_is_noticed_and_the_rest_is_in_order(
    torn: Path, tmp_path: Path
) -> None:
    rng = random.Random(7)  # noqa: S311
    outcomes: list[str] = []
    for case in range(20):
        folder = tmp_path / str(case)
        shutil.copytree(torn, folder)
        victim = folder / (NAME if case % 4 == 0 else f"{NAME}-wal")
        os.truncate(victim, rng.randrange(victim.stat().st_size))
        async with opened(folder) as outbox:
            lost = int(outbox.stats()["lost_events"])
            set_aside = damaged(folder)
            sequences = [w.letter.sequence for w in await take_all(outbox)]
            assert outbox.sequence("hall") == 300, "numbers are not given twice"
            outbox.put(event(301), 0.0)
            await stored(outbox)
        assert sequences == sorted(set(sequences))
        if sequences == list(range(1, 301)):
            outcomes.append("whole")
        else:
            assert lost == 300 - len(sequences) or set_aside
            outcomes.append("noticed")
    assert outcomes.count("noticed") >= 10


async def test_flipped_bytes_are_noticed_and_never_sent(
    torn: Path, tmp_path: Path, logs: Logs
) -> None:
    genuine = {event(sequence).to_json() for sequence in range(1, 301)}
    rng = random.Random(11)  # noqa: S311
    for case in range(15):
        folder = tmp_path / str(case)
        shutil.copytree(torn, folder)
        await left_in_log(folder)
        victim = folder / NAME
        content = bytearray(victim.read_bytes())
        for _ in range(rng.choice([1, 20, 500])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        victim.write_bytes(content)
        logs.entries.clear()
        async with opened(folder) as outbox:
            bodies = [w.letter.body for w in await take_all(outbox)]
            rejected = outbox.rejected
        assert set(bodies) <= genuine
        if len(bodies) < 300:
            assert rejected or logs.at("error"), "what is missing is said"


async def left_in_log(folder: Path) -> None:
    """Move all from the log to the database."""
    with contextlib.closing(sqlite3.connect(folder / NAME)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


# -- row 10: a corrupt or read-only state directory


@pytest.mark.parametrize("content", [b"", b"nonsense", os.urandom(50_000)])
async def test_a_corrupt_file_is_set_aside_with_the_date_and_a_new_one_begun(
    tmp_path: Path, logs: Logs, content: bytes
) -> None:
    await fill(tmp_path, 1, 20)
    (tmp_path / NAME).write_bytes(content)
    async with opened(tmp_path) as outbox:
        assert outbox.sequence("hall") == 20, "numbers go on"
        outbox.put(event(21), 0.0)
        await stored(outbox)
    assert await left_in(tmp_path) == [21]
    assert logs.at("error")
    if content:
        (aside,) = damaged(tmp_path)
        assert re.fullmatch(r"outbox-20\d{6}T\d{6}Z\.damaged", aside.name)
        assert aside.read_bytes() == content
        assert any(entry.get("set_aside") == str(aside) for entry in logs.at("error"))


async def test_a_file_that_is_damaged_while_it_is_used_is_set_aside_too(
    tmp_path: Path, logs: Logs
) -> None:
    async with opened(tmp_path, rows=10_000) as outbox:
        for sequence in range(1, 1001):
            outbox.put(event(sequence), 0.0)
        await stored(outbox)
        victim = tmp_path / NAME
        with contextlib.suppress(OSError):
            os.truncate(tmp_path / f"{NAME}-wal", 0)
        content = bytearray(victim.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
        victim.write_bytes(content)
        found = [w.letter.sequence for w in await take_all(outbox)]
        assert found[:200] == list(range(1, 201)), "what was in memory is sent"
        outbox.put(event(1001), 0.0)
        await stored(outbox)
    assert await left_in(tmp_path) == [1001]
    assert logs.at("error")


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
                                on_their_way[waiting.ticket] = waiting.letter.sequence
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


async def test_only_a_few_damaged_files_are_kept(tmp_path: Path) -> None:
    for sequence in range(1, 7):
        (tmp_path / NAME).write_bytes(b"nonsense" * 100)
        await fill(tmp_path, sequence, sequence)
    assert len(damaged(tmp_path)) == 3


async def test_a_file_in_the_place_of_the_folder_is_said_and_events_wait_in_memory(
    tmp_path: Path, logs: Logs
) -> None:
    (tmp_path / "state").write_text("")
    async with opened(tmp_path / "state") as outbox:
        for sequence in (1, 2):
            outbox.put(event(sequence), 0.0)
        assert [w.letter.sequence for w in await take_all(outbox)] == [1, 2]
        outbox.put(event(3), 0.0)
        assert outbox.unstored == 1
        assert str(tmp_path / "state") in str(outbox.stats()["storage"])
        (tmp_path / "state").unlink()  # and it heals
        await stored(outbox)
        assert outbox.stats()["storage"] == "ok"
    assert await left_in(tmp_path / "state") == [3]
    assert [entry["event"][:25] for entry in logs.at("error")] == ["events cannot be stored: "]


async def test_memory_is_bounded_too_while_nothing_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    async with opened(tmp_path / "state", rows=10) as outbox:
        for sequence in range(1, 31):
            outbox.put(event(sequence), 0.0)
        assert (len(outbox), outbox.dropped) == (10, 20)
        (tmp_path / "state").unlink()
        await stored(outbox)
        assert (len(outbox), outbox.dropped) == (10, 20)
    assert await left_in(tmp_path / "state") == list(range(21, 31))


class Disk:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def fill_up(self) -> None:
        try:
            with (self.folder / "stuff").open("ab", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def free(self) -> None:
        (self.folder / "stuff").unlink()


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    size = getattr(request, "param", "512k")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_disk_that_takes_nothing_more_is_said_and_healed(tmp_path: Path, logs: Logs) -> None:
    """A file size limit stands for a disk that fails while files are open."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened(tmp_path) as outbox:
        outbox.put(event(1), 0.0)
        await stored(outbox)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        try:
            for sequence in (2, 3):
                outbox.put(event(sequence), 0.0)
            await until(lambda: outbox.stats()["storage"] != "ok")
            assert [w.letter.sequence for w in await take_all(outbox)] == [1, 2, 3]
            outbox.put(event(4), 0.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await stored(outbox)
        assert outbox.stats()["storage"] == "ok"
    assert await left_in(tmp_path) == [4]
    assert len(logs.at("error")) == 1


async def test_beginning_on_a_read_only_disk_goes_on_counting(disk: Disk) -> None:
    await fill(disk.folder, 1, 5)
    disk.remount("ro")
    async with opened(disk.folder) as outbox:
        assert outbox.sequence("hall") == 5
        outbox.put(event(6), 0.0)
        await until(outbox.oldest)
        disk.remount("rw")
        await stored(outbox)
        assert [w.letter.sequence for w in await take_all(outbox)] == [1, 2, 3, 4, 5, 6]


# -- row 9: the disk is full


@pytest.mark.parametrize("disk", ["512k", "1m"], indirect=True)
async def test_full_disk_first_costs_the_ballast_and_then_goes_to_memory_and_heals(
    disk: Disk, logs: Logs, request: pytest.FixtureRequest
) -> None:
    async with opened(disk.folder, rows=5000) as outbox:
        outbox.put(event(1), 0.0)
        await stored(outbox)
        assert (disk.folder / "ballast").stat().st_size == Ballast.SIZE
        disk.fill_up()
        sequence = 1
        while outbox.stats()["storage"] == "ok":
            sequence += 1
            outbox.put(event(sequence), 0.0)
            await asyncio.sleep(0.001)
            assert sequence < 4000
        assert sequence > 20, "the ballast has room for some"
        assert not (disk.folder / "ballast").exists()
        for _ in range(100):
            sequence += 1
            outbox.put(event(sequence), 0.0)
        assert outbox.unstored >= 100
        assert len(outbox) == sequence
        found = []
        for _ in range(30):  # delivery goes on
            await until(outbox.oldest)
            waiting = outbox.oldest()
            assert waiting is not None
            found.append(waiting.letter.sequence)
            outbox.remove(waiting.ticket)
        disk.free()
        await stored(outbox)
        assert (outbox.stats()["storage"], outbox.dropped) == ("ok", 0)
        outbox.put(event(sequence + 1), 0.0)
        await stored(outbox)
        if "1m" in request.node.name:  # the other one has no room to spare again
            assert (disk.folder / "ballast").exists()
    assert found + await left_in(disk.folder) == list(range(1, sequence + 2))
    assert [entry["event"].split(":")[0] for entry in logs.at("error")] == [
        "the disk is full",
        "events cannot be stored",
    ]


async def test_what_is_delivered_from_a_full_disk_is_not_sent_again(disk: Disk) -> None:
    """SQLite needs room to delete, too: that is what the ballast is for."""
    async with opened(disk.folder, rows=5000) as outbox:
        for sequence in range(1, 101):
            outbox.put(event(sequence), 0.0)
        await stored(outbox)
        disk.fill_up()
        assert len(await take_all(outbox)) == 100
    assert await left_in(disk.folder) == []


async def test_a_disk_that_was_full_from_the_beginning_is_used_once_it_is_not(
    disk: Disk,
) -> None:
    disk.fill_up()
    async with opened(disk.folder) as outbox:
        outbox.put(event(1), 0.0)
        await until(outbox.oldest)
        disk.free()
        await stored(outbox)
    assert await left_in(disk.folder) == [1]


async def test_a_disk_that_failed_is_tried_now_and_then_though_nothing_is_left_to_store(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as outbox:
        tries = 0
        awake = outbox._awake

        async def counted() -> None:
            nonlocal tries
            tries += 1
            await awake()

        outbox._awake = counted  # type: ignore[method-assign]
        outbox._fail("the disk is full")
        outbox._wake.set()
        await until(lambda: outbox.stats()["storage"] == "ok")
        assert tries < 20
