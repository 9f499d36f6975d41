"""What a run that was killed left unfinished is known to the next one, and finished."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from detector.publish.outbox import durable
from detector.publish.outbox.contents import OPEN_EVENTS
from detector.publish.outbox.memory import MemoryOutbox
from detector.publish.outbox.watermark import Watermark
from detector.publish.previous_run import PreviousRun, down_gap, end_messages
from tests.publish.helpers import NODE, NOON, event
from tests.publish.outboxes import opened, stored, until

ROOT = Path(__file__).parents[2]


async def previous_run(folder: Path) -> PreviousRun:
    async with opened(folder) as outbox:
        return outbox.previous_run


async def test_events_without_an_end_are_known_to_the_next_run_by_their_last_message(
    tmp_path: Path,
) -> None:
    ended, cut = event(1), event(2, label="siren")
    going_on = event(3, "update", label="siren", segment=cut.id)
    async with opened(tmp_path) as outbox:
        outbox.put(ended, 0.0)
        outbox.put(cut, 0.0)
        await stored(outbox)
        outbox.put(going_on, 0.0)
        outbox.put(event(4, "end", segment=ended.id), 0.0)
    assert (await previous_run(tmp_path)).open_events == [going_on]
    assert (await previous_run(tmp_path)).open_events == [going_on], "until it is ended"
    async with opened(tmp_path) as outbox:
        for message in end_messages(outbox.previous_run, outbox.sequence):
            outbox.put(message, 0.0)
    assert (await previous_run(tmp_path)).open_events == []


async def test_a_killed_run_leaves_what_was_open_and_until_when_it_heard(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from datetime import timedelta\n"
        "from pathlib import Path\n"
        "from tests.publish.helpers import NOON, event\n"
        "from tests.publish.outboxes import opened, stored\n"
        "async def main():\n"
        "    async with opened(Path(sys.argv[1])) as outbox:\n"
        "        outbox.set_heard_until('hall', NOON + timedelta(seconds=5))\n"
        "        outbox.put(event(1), 0.0)\n"
        "        await stored(outbox)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False
    )
    assert ended.returncode == -9
    found = await previous_run(tmp_path)
    assert found.open_events == [event(1)]
    assert found.heard_until == {"hall": NOON + timedelta(seconds=5)}


async def test_a_clean_stop_notes_until_when_it_heard_to_the_last_sample(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        for seconds in range(3):
            outbox.set_heard_until("hall", NOON + timedelta(seconds=seconds))
            await asyncio.sleep(0.01)
    assert (await previous_run(tmp_path)).heard_until == {"hall": NOON + timedelta(seconds=2)}


async def test_hearing_alone_writes_once_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "HEARD_INTERVAL_S", 0.5)
    noted: set[float] = set()
    async with opened(tmp_path) as outbox:
        await until((tmp_path / "outbox.sqlite3").exists)
        began = asyncio.get_running_loop().time()
        for block in range(100):
            outbox.set_heard_until("hall", NOON + timedelta(seconds=block))
            await asyncio.sleep(0.01)
            noted |= set(Watermark.read(tmp_path / "watermark").heard_until.values())
        took = asyncio.get_running_loop().time() - began
        assert 2 <= len(noted) <= 2 + took / 0.5


async def test_so_many_open_events_are_known_and_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        for sequence in range(1, OPEN_EVENTS + 11):
            outbox.put(event(sequence), 0.0)
    found = (await previous_run(tmp_path)).open_events
    assert {message.sequence for message in found} == set(range(11, OPEN_EVENTS + 11))


def test_nothing_is_known_in_memory() -> None:
    outbox = MemoryOutbox(10)
    outbox.put(event(1), 0.0)
    outbox.set_heard_until("hall", NOON)
    assert outbox.previous_run == PreviousRun()


def test_an_event_ends_where_sound_was_last_heard_with_the_next_number() -> None:
    first, second, yard = event(7), event(8, label="siren"), event(3, source="yard")
    heard = {"hall": NOON + timedelta(seconds=2.5), "yard": NOON - timedelta(hours=1)}
    numbers = {"hall": 8, "yard": 3}
    ends = []
    for end in end_messages(PreviousRun([first, second, yard], heard), numbers.__getitem__):
        numbers[end.source] = end.sequence
        ends.append(end)
    assert [(end.id, end.sequence, end.duration_s) for end in ends] == [
        (first.id, 9, 2.5),
        (second.id, 10, 2.5),
        (yard.id, 4, 0.0),
    ]
    assert {(end.type, end.truncated) for end in ends} == {("end", True)}
    assert ends[0].offset == NOON + timedelta(seconds=2.5)
    assert ends[2].offset == NOON, "not before it began"


def test_the_gap_lasts_from_the_last_sound_of_the_one_run_to_the_first_of_the_next() -> None:
    gap = down_gap(NODE, "hall", NOON, NOON + timedelta(seconds=61.25))
    assert gap is not None
    assert (gap.reason, gap.duration_s, gap.begin) == ("down", 61.25, NOON)


@pytest.mark.parametrize("heard_until", [None, NOON, datetime(2030, 1, 1, tzinfo=UTC)])
def test_there_is_no_gap_if_nothing_is_known_or_the_clock_was_set_back(
    heard_until: datetime | None,
) -> None:
    assert down_gap(NODE, "hall", heard_until, NOON) is None
