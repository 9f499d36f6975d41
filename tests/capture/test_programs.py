"""A program whose stdout is heard; real ones, good and bad."""

import asyncio
import contextlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.capture.reader.output import NoteLimit, plain
from detector.capture.reader.pace import AHEAD_S, Pace
from detector.capture.timeline import STALL_S
from detector.records import SAMPLE_RATE
from detector.settings.sources import SourceSettings
from tests.capturing import RunningCapture, all_listening, all_running

RAW = {"rate": SAMPLE_RATE, "channels": 1, "sample_format": "s16le"}
LIVE = """
import sys, time
began = time.monotonic()
for i in range(1, 10_000):
    time.sleep(max(0, began + i / 10 - time.monotonic()))
    sys.stdout.buffer.write(bytes(3200))
    sys.stdout.flush()
"""
"""Silence, at its pace."""


def source(*program: str, **settings: Any) -> RunningCapture:
    return RunningCapture(SourceSettings(name="capture", program=program, **{**RAW, **settings}))


def python(code: str, **settings: Any) -> RunningCapture:
    return source(sys.executable, "-c", code, **settings)


def alive(pid: int) -> bool:
    """Whether the process runs; not if it waits to be reaped."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_program_and_what_it_started_end_with_the_source(tmp_path: Path) -> None:
    """Also one that ignores SIGTERM, and hangs."""
    stubborn = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{inner.pid}}")
{LIVE.replace("10_000", "10")}
time.sleep(60)
"""

    async def scenario() -> float:
        async with all_listening(python(stubborn)) as [hall]:
            await hall.heard(0.5)
            began = boottime()
        return boottime() - began

    assert asyncio.run(scenario()) < 3
    assert [pid for pid in map(int, (tmp_path / "pids").read_text().split()) if alive(pid)] == []


@pytest.mark.slow
def test_a_program_that_hangs_has_stalled_and_is_started_again(tmp_path: Path) -> None:
    hangs_at_first = f"""
import pathlib, time
again = pathlib.Path({str(tmp_path / "again")!r})
if not again.exists():
    again.touch()
    {LIVE.replace("10_000", "5").replace(chr(10), chr(10) + "    ")}
    time.sleep(60)
{LIVE}
"""

    async def scenario() -> None:
        async with all_listening(python(hangs_at_first)) as [hall]:
            await hall.status("stalled")
            await hall.cut()
            await hall.status("offline")
            await hall.status("listening")
            await hall.heard(1)
            [gap] = hall.gaps
            assert gap.reason == "restart"
            told = dict(hall.statuses[:-1])
            away_s = hall.statuses[-1][1] - told["stalled"] + STALL_S
            assert gap.length / SAMPLE_RATE == pytest.approx(away_s, abs=0.3)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("program", "settings", "reason"),
    [
        (("no-such-program",), {}, "program 'no-such-program' cannot be started: No such file"),
        (("/etc/passwd",), {}, "program '/etc/passwd' cannot be started: Permission denied"),
        (("false",), {}, "program 'false' has ended, with exit code 1"),
        (("sh", "-c", "echo why >&2; exit 3"), {}, "has ended, with exit code 3: why"),
        (("sh", "-c", "kill -9 $$"), {}, "was ended by signal 9 (SIGKILL)"),
        (("sh", "-c", "kill -40 $$"), {}, "was ended by signal 40"),
        (("echo", "x" * 9000), {"rate": None, "channels": None, "sample_format": None},
         "b'xxxxxxxx', which is no recording that is known here; for bare samples, set rate, "),
        (("printf", "OggS\\0" + "x" * 9000), {}, "program 'printf': the stream: "),
        (("printf", "DMIC" + "x" * 9000), {}, "the records are wrong: there is no record of kind"),
    ],
)  # fmt: skip
def test_a_program_that_fails_is_said_once_and_tried_ever_more_seldom(
    program: tuple[str, ...], settings: dict[str, Any], reason: str
) -> None:
    async def scenario() -> None:
        hall = source(*program, **settings)
        async with all_running(hall):
            await hall.reason(logs, reason)
            await asyncio.sleep(1.5)
        assert {status for status, _ in hall.statuses} == {"offline"}

    structlog.reset_defaults()
    with capture_logs() as logs:
        asyncio.run(scenario())
    assert len([entry for entry in logs if "reason" in entry]) == 1


def test_a_program_that_floods_is_heard_at_the_pace_of_its_sound_and_nothing_is_lost() -> None:
    """And said to be too fast. What it prints is told in part."""
    flood = """
import sys
for i in range(1000):
    sys.stderr.write(f"chatter {i} rtsp://me:secret@camera/1\\n")
step = bytes(range(256)) * 25
while True:
    sys.stdout.buffer.write(step)
"""

    async def scenario() -> None:
        async with all_listening(python(flood)) as [hall]:
            began = boottime()
            for _ in range(2):
                await asyncio.sleep(1.5)
                ahead_s = hall.end_s - (boottime() - began)
                assert ahead_s == pytest.approx(AHEAD_S, abs=0.8)
            assert not hall.gaps
            assert not hall.cuts
            heard = np.concatenate([block.samples for block in hall.blocks])
            expected = np.resize(np.frombuffer(bytes(range(256)), "<i2") / 32768, len(heard))
            assert np.array_equal(heard, expected.astype(np.float32))

    structlog.reset_defaults()
    with capture_logs() as logs:
        asyncio.run(scenario())
    said = [entry["said"] for entry in logs if "said" in entry]
    assert len(said) < 15
    assert any(re.search(r"sound comes \d+\.\d times as fast", line) for line in said)
    assert any(line.startswith("chatter ") for line in said)
    assert "secret" not in str(logs)


def test_bursts_are_sound_and_no_step_of_the_clock() -> None:
    """A second of sound each second, as from a program with a large buffer."""
    bursts = LIVE.replace("i / 10", "i").replace("3200", "32000")

    async def scenario() -> None:
        async with all_listening(python(bursts)) as [hall]:
            began = hall.clock.captured_at(0)
            await hall.heard(5.0)
            assert not hall.gaps
            assert not hall.cuts
            assert [status for status, _ in hall.statuses] == ["offline", "listening"]
            assert hall.clock.captured_at(0) == pytest.approx(began, abs=0.1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.5, "only 0.50 s of sound come in a second"),
        (3.0, "sound comes 3.0 times as fast"),
        (1.0002, None),
    ],
)
def test_a_rate_that_is_not_what_was_said_is_noticed(share: float, said: str | None) -> None:
    lines: list[str] = []
    pace = Pace(SAMPLE_RATE, lines.append)
    for i in range(600):
        pace.wait_s(round(share * SAMPLE_RATE / 10), i / 10)
    assert [line.startswith(said) for line in lines] == [True] if said else not lines


def test_lines_are_let_through_until_they_are_too_many() -> None:
    limit = NoteLimit()
    first = [line for i in range(1000) for line in limit.pass_on(str(i), i / 1000)]
    assert first == [str(i) for i in range(10)]
    assert limit.pass_on("later", 15.0) == ["(990 lines are left out)", "later"]


def test_a_line_shows_no_password_and_commands_no_terminal() -> None:
    assert (
        plain("opening rtsp://me:secret@camera/1\x1b[2J\r\n") == "opening rtsp://***@camera/1 [2J"
    )
    assert len(plain("x" * 5000)) == 301
