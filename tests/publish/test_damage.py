"""The outbox on disk after a power cut, and after whatever else has damaged its file."""

import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from detector.publish.outbox.store import NAME
from tests.killing import damaged
from tests.publish.helpers import Logs, event
from tests.publish.outboxes import fill, left_in, opened, stored, take_all

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as a killed process leaves them, with events in the database and in the log."""
    folder = tmp_path_factory.mktemp("torn")
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from detector.publish.outbox.durable import DurableOutbox\n"
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
            lost = outbox.stats().lost_events
            set_aside = damaged(folder)
            sequences = [w.message.sequence for w in await take_all(outbox)]
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
            bodies = [w.message.body for w in await take_all(outbox)]
            rejected = outbox.rejected
        assert set(bodies) <= genuine
        if len(bodies) < 300:
            assert rejected or logs.at("error"), "what is missing is said"


async def left_in_log(folder: Path) -> None:
    """Move all from the log to the database."""
    with contextlib.closing(sqlite3.connect(folder / NAME)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


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
        found = [w.message.sequence for w in await take_all(outbox)]
        assert found[:200] == list(range(1, 201)), "what was in memory is sent"
        outbox.put(event(1001), 0.0)
        await stored(outbox)
    assert await left_in(tmp_path) == [1001]
    assert logs.at("error")


async def test_only_a_few_damaged_files_are_kept(tmp_path: Path) -> None:
    for sequence in range(1, 7):
        (tmp_path / NAME).write_bytes(b"nonsense" * 100)
        await fill(tmp_path, sequence, sequence)
    assert len(damaged(tmp_path)) == 3
