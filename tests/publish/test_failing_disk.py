"""The outbox on a disk that is full, read-only or fails: events wait in memory, and it heals."""

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.publish.outbox.ballast import Ballast
from tests.disk import fill_up
from tests.publish.helpers import Logs, event
from tests.publish.outboxes import fill, left_in, opened, stored, take_all, until


async def test_a_file_in_the_place_of_the_folder_is_said_and_events_wait_in_memory(
    tmp_path: Path, logs: Logs
) -> None:
    (tmp_path / "state").write_text("")
    async with opened(tmp_path / "state") as outbox:
        for sequence in (1, 2):
            outbox.put(event(sequence), 0.0)
        assert [w.message.sequence for w in await take_all(outbox)] == [1, 2]
        outbox.put(event(3), 0.0)
        assert outbox.unstored == 1
        assert str(tmp_path / "state") in outbox.stats().storage
        (tmp_path / "state").unlink()  # and it heals
        await stored(outbox)
        assert outbox.stats().storage == "ok"
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
        fill_up(self.folder)

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
            await until(lambda: outbox.stats().storage != "ok")
            assert [w.message.sequence for w in await take_all(outbox)] == [1, 2, 3]
            outbox.put(event(4), 0.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await stored(outbox)
        assert outbox.stats().storage == "ok"
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
        assert [w.message.sequence for w in await take_all(outbox)] == [1, 2, 3, 4, 5, 6]


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
        while outbox.stats().storage == "ok":
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
            found.append(waiting.message.sequence)
            outbox.remove(waiting.ticket)
        disk.free()
        await stored(outbox)
        assert (outbox.stats().storage, outbox.dropped) == ("ok", 0)
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
        await until(lambda: outbox.stats().storage == "ok")
        assert tries < 20
