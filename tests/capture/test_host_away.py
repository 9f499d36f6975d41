"""A program whose host is away is started when the host is back, and in the end anyway."""

import asyncio
import socket
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from detector.capture.programs import framing, supervised
from detector.capture.programs.program import CaptureProgram
from detector.capture.programs.supervised import SupervisedProgram
from detector.capture.ring import RingBuffer
from tests.broker import free_port

GOES = ("/bin/sh", "-c", "echo away >&2")


def capture_at(host: str, port: int, command: tuple[str, ...] = GOES) -> SupervisedProgram:
    program = CaptureProgram("test program", "rtsp://camera.lan", command, address=(host, port))
    return SupervisedProgram(program, "mix", "test")


async def told_in(
    capture: SupervisedProgram, seconds: float, until: str = ""
) -> list[tuple[str, str | None]]:
    """Each status and why, until that reason is told."""
    told, enough = list[tuple[str, str | None]](), asyncio.Event()

    def on_status(status: str) -> None:
        told.append((status, capture.failure))
        if until and until in (capture.failure or ""):
            enough.set()

    running = asyncio.create_task(capture.run(RingBuffer(), on_status))
    await asyncio.wait(
        [running, asyncio.create_task(enough.wait())],
        timeout=seconds,
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    return told


def test_one_dead_address_of_several_does_not_keep_a_host_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        socket.create_server(("127.0.0.2", 0), backlog=0) as dead,
        socket.create_server(("127.0.0.3", port := dead.getsockname()[1])),
        socket.create_connection(dead.getsockname()),  # no more of them are answered
    ):

        def two(*_: object, **__: object) -> list[Any]:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.3", port))]

        monkeypatch.setattr(socket, "getaddrinfo", two)
        began = time.monotonic()
        assert asyncio.run(supervised._takes_connections(("camera.lan", port)))
        assert 0.2 < time.monotonic() - began < 2


@pytest.mark.parametrize("host", ["127.0.0.1", "cam..lan"])
def test_in_the_end_the_program_is_started_though_nobody_takes_connections(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    monkeypatch.setattr(supervised, "ASKED_S", 0.0)
    starts = tmp_path / "starts"
    capture = capture_at(host, free_port(), ("/bin/sh", "-c", f"echo >> {starts}"))
    asyncio.run(told_in(capture, 2))
    assert starts.read_text().count("\n") > 1


def test_a_host_that_was_heard_and_is_away_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent((framing.__doc__ or "").partition("is:\n\n")[2]))
    capture = capture_at("127.0.0.1", free_port(), (sys.executable, str(path)))
    away = (
        "rtsp://camera.lan cannot be reached: check whether it is switched on, and on the network"
    )
    assert asyncio.run(told_in(capture, 8, away)) == [
        ("listening", None),
        ("offline", "the test program ended by itself"),
        ("offline", away),
    ]
