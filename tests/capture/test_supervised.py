"""Any program that writes records is a capture."""

import asyncio
import sys
import textwrap
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.capture import framing
from detector.capture.program import CaptureProgram
from detector.capture.ring import RingBuffer
from detector.capture.supervised import SupervisedProgram
from detector.records import SAMPLE_RATE, AudioBlock


def capture_of(*command: str) -> SupervisedProgram:
    program = CaptureProgram(name="test program", source="test sound", command=command)
    return SupervisedProgram(program, "mix", "test")


async def run_until(capture: SupervisedProgram, status: str) -> tuple[RingBuffer, list[str]]:
    """Run the capture until it has that status; return its ring and all statuses."""
    ring, statuses, reached = RingBuffer(), list[str](), asyncio.Event()

    def on_status(now: str) -> None:
        statuses.append(now)
        if now == status:
            asyncio.get_running_loop().call_soon(reached.set)

    running = asyncio.create_task(capture.run(ring, on_status))
    try:
        async with asyncio.timeout(10):
            await reached.wait()
    finally:
        running.cancel()
        await asyncio.wait([running])
    return ring, statuses


def test_the_program_that_the_wire_format_shows_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    shown = (framing.__doc__ or "").partition("is:\n\n")[2]
    path.write_text(textwrap.dedent(shown))
    capture = capture_of(sys.executable, str(path))
    ring, statuses = asyncio.run(run_until(capture, "offline"))
    assert statuses == ["listening", "offline"]
    assert ring.samples_heard == ring.end_sample == SAMPLE_RATE
    assert isinstance(ring.read(0, SAMPLE_RATE), AudioBlock)
    assert -0.1 < boottime() - capture.clock.captured_at(SAMPLE_RATE) < 2
    assert capture.description == "test sound"


def test_a_capture_that_was_cancelled_can_be_run_again_on_the_same_ring(tmp_path: Path) -> None:
    """It tells its status anew, and what it had not delivered yet comes first."""
    path = tmp_path / "program.py"
    shown = (framing.__doc__ or "").partition("is:\n\n")[2]
    path.write_text(textwrap.dedent(shown) + "\nimport time\ntime.sleep(30)\n")
    capture = capture_of(sys.executable, str(path))

    async def twice() -> tuple[list[str], list[str]]:
        ring, statuses = await run_until(capture, "listening")
        again, reached = list[str](), asyncio.Event()

        def on_status(now: str) -> None:
            again.append(now)
            reached.set()

        running = asyncio.create_task(capture.run(ring, on_status))
        async with asyncio.timeout(10):
            await reached.wait()
        running.cancel()
        await asyncio.wait([running])
        return statuses, again

    statuses, again = asyncio.run(twice())
    assert (statuses, again) == (["listening"], ["listening"])


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("/nowhere/program",), "the test program cannot be started: [Errno 2]"),
        (("/bin/echo", "x" * 99), "the test program writes no valid records: a record begins"),
        (("/bin/sh", "-c", "echo why >&2"), "the test program ended by itself: why"),
    ],
)
def test_a_program_that_fails_is_offline_for_a_reason_and_tried_again(
    command: tuple[str, ...], reason: str
) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs:
        _, statuses = asyncio.run(run_until(capture_of(*command), "offline"))
    assert statuses == ["offline"]
    [entry] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert entry["source"] == "test"
    assert entry["reason"].startswith(reason)
