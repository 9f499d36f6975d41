"""Any program that writes records is a capture."""

import asyncio
import sys
import textwrap
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.capture.programs import framing
from detector.capture.programs.program import CaptureProgram
from detector.capture.programs.supervised import SupervisedProgram
from detector.capture.ring import RingBuffer
from detector.records import SAMPLE_RATE, AudioBlock, StreamInfo


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
    assert capture.stream == StreamInfo(rate=16_000, channels=1)


def test_a_program_that_decodes_says_what(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    shown = textwrap.dedent((framing.__doc__ or "").partition("is:\n\n")[2])
    form = 'write(1, 0, 0, 8, struct.pack("<II", 16000, 1))'
    assert form in shown
    with_codec = 'write(1, 0, 0, 12, struct.pack("<II", 16000, 1) + b"opus")'
    path.write_text(shown.replace(form, with_codec))
    capture = capture_of(sys.executable, str(path))
    assert capture.stream is None
    asyncio.run(run_until(capture, "offline"))
    assert capture.stream == StreamInfo(codec="opus", rate=16_000, channels=1)


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
        (("a\0b",), "the test program cannot be started: embedded null byte"),
        (("/bin/echo", "x" * 99), "the test program writes no valid records: a record begins"),
        (("/bin/sh", "-c", "echo why >&2"), "the test program ended by itself: why"),
        (
            ("/bin/sh", "-c", "for word in for this reason; do printf $word >&2; sleep 0.1; done"),
            "the test program ended by itself: forthisreason",
        ),
    ],
)
def test_a_program_that_fails_is_offline_for_a_reason_and_tried_again(
    command: tuple[str, ...], reason: str
) -> None:
    structlog.reset_defaults()
    capture = capture_of(*command)
    with capture_logs() as logs:
        _, statuses = asyncio.run(run_until(capture, "offline"))
    assert statuses == ["offline"]
    [entry] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert entry["source"] == "test"
    assert entry["reason"].startswith(reason)
    assert capture.failure == entry["reason"]


def test_a_device_that_has_another_rate_than_it_says_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    shown = textwrap.dedent((framing.__doc__ or "").partition("is:\n\n")[2])
    shown = shown.replace("range(0, 16000, 1600)", "range(0, 16000 * 100, 1600)")
    shown = shown.replace("time.sleep(0.1)", "pass").replace(
        "now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)",
        "now = round((1e5 + (first_sample + 1600) / 14700) * 1e9)",
    )
    path.write_text(shown)
    capture = capture_of(sys.executable, str(path))
    asyncio.run(run_until(capture, "offline"))
    assert capture.stream is not None
    assert capture.stream.drift_ppm == pytest.approx(-81_250, abs=100)


HEARS_IN_BURSTS = """
import sys, time
from detector.boottime import boottime_ns
from detector.capture.programs.framing import *
out = sys.stdout.buffer
out.write(pack_format(StreamFormat(16000, 1)))
first_sample, began_ns = 0, boottime_ns()
for _ in range(2):
    for _ in range(30):
        first_sample += 1600
        captured_ns = began_ns + first_sample * 62500
        out.write(pack_header(Header(Kind.AUDIO, first_sample - 1600, captured_ns, 0, 1600)))
        out.write(bytes(6400))
    out.flush()
    for _ in range(6):
        time.sleep(0.5)
        if "--says-so" in sys.argv:
            out.write(pack_waiting())
            out.flush()
"""


@pytest.mark.parametrize(
    ("argument", "statuses"),
    [
        ("--says-so", ["listening", "offline"]),
        ("--is-silent", ["listening", "stalled", "listening", "stalled", "offline"]),
    ],
)
def test_a_program_that_hears_in_bursts_and_says_so_is_not_stalled(
    argument: str, statuses: list[str]
) -> None:
    capture = capture_of(sys.executable, "-c", HEARS_IN_BURSTS, argument)
    ring, told = asyncio.run(run_until(capture, "offline"))
    assert told == statuses
    assert ring.samples_heard == ring.end_sample == 6 * SAMPLE_RATE
