"""JSON lines on a stream."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.publish.console import ConsolePublisher
from tests.publish.helpers import event, gap


def test_events_and_gaps_are_one_json_object_a_line() -> None:
    stream = io.StringIO()
    console = ConsolePublisher(stream)
    console.event(event(1, name="Dog\nbark ♫"))
    console.gap(gap())
    lines = stream.getvalue().splitlines()
    assert json.loads(lines[0])["name"] == "Dog\nbark ♫"
    assert json.loads(lines[1])["reason"] == "stall"
    assert len(lines) == 2


def test_stdout_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    ConsolePublisher().event(event(1))
    assert json.loads(capsys.readouterr().out)["sequence"] == 1


def test_reader_that_goes_away_ends_the_output_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        console = ConsolePublisher(stream)
        assert not console.closed
        console.event(event(1))
        assert console.closed
        console.gap(gap())


def test_process_whose_reader_goes_away_exits_cleanly() -> None:
    program = (
        "from detector.publish.console import ConsolePublisher\n"
        "from tests.publish.helpers import event\n"
        "console = ConsolePublisher()\n"
        "while not console.closed:\n"
        "    console.event(event(1))\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 0
