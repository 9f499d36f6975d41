"""What is no sound is told in a sentence of its own, once, and nothing secret in it."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.capture.programs.program import CaptureProgram
from detector.capture.programs.supervised import SupervisedProgram
from detector.capture.ring import RingBuffer
from detector.settings.sources import SourceSettings
from tests.broker import free_port
from tests.capturing import listening, reason, reasons
from tests.http_streams import StreamServer, stream_server
from tests.rtsp import Camera, steady_camera

__all__ = ["steady_camera"]

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    folder = tmp_path_factory.mktemp("web")
    for name, seconds in (("recording", 3), ("long", 150)):
        tone = ("-f", "lavfi", "-i", f"sine=d={seconds}")
        sound = folder / f"{name}.mp3"
        subprocess.run(["ffmpeg", "-v", "error", *tone, "-b:a", "64k", str(sound)], check=True)
    with stream_server(folder) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("video", "sends no sound, only video: switch the microphone on"),
        ("nowhere", "knows no such path (404 Not Found): check the path"),
        ("unknown", "sends its sound in a form that FFmpeg does not know: choose AAC"),
    ],
)
def test_a_camera_that_has_nothing_to_hear_says_why(
    steady_camera: Camera, path: str, told: str
) -> None:
    assert f"rtsp://127.0.0.1:{steady_camera.port} {told}" in reason(steady_camera.url(path))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nowhere", "knows no such path (404 Not Found)"),
        ("broken", "has an error of its own (5xx): look at its log"),
        ("login", "wants a login: give username and password_file in sources.porch"),
        ("forbidden", "wants a login: give username and password_file in sources.porch"),
        ("page", "sends no stream, and closes the connection: check the url"),
        ("empty", "sends no stream, and closes the connection: check the url"),
        ("around", "sends no stream, and closes the connection: check the url"),
        ("silent", "does not answer within 1 s: check host and port"),
        ("header", "does not answer within 1 s: check host and port"),
        ("recording.mp3", "is a recording of 3 s and no live stream: download it"),
        ("flood", "sends more than a minute of sound at once, as a recording does"),
        ("drip", ": nothing has come for"),
    ],
)
def test_a_server_that_sends_no_stream_says_why(server: StreamServer, path: str, told: str) -> None:
    assert told in reason(server.url(path), timeout_s=1.0 if path in ("silent", "header") else 5.0)


def test_a_host_that_does_not_exist_is_named() -> None:
    assert "rtsp://camera.invalid: there is no host of that name" in reason(
        "rtsp://u:secret@camera.invalid/secret"
    )


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "rtmp"])
def test_a_port_at_which_nobody_listens_is_named(scheme: str) -> None:
    told = reason(f"{scheme}://127.0.0.1:{free_port()}/x")
    assert "refuses the connection: check the port" in told


def test_a_reason_is_told_once_and_again_only_when_it_changes(server: StreamServer) -> None:
    async def scenario() -> list[str]:
        asking = asyncio.create_task(reasons(server.url("nowhere"), seconds=6))
        await asyncio.sleep(2.5)
        server.start()
        return await asking

    server.stop()
    server.asked.clear()
    refused, unknown = asyncio.run(scenario())
    assert "refuses the connection" in refused
    assert "knows no such path" in unknown
    assert len(server.asked) > 1


def test_headers_are_sent_along(server: StreamServer) -> None:
    async def scenario() -> None:
        url, headers = server.url("redirect"), {"X-Token": "letmein"}
        source = SourceSettings(name="porch", url=url, headers=headers)
        async with listening(source) as [capture]:
            await capture.heard(0.3)

    server.asked.clear()
    asyncio.run(scenario())
    assert [path for path, _ in server.asked] == ["/redirect", "/mp3"]
    assert server.asked[0][1]["X-Token"] == "letmein"


def test_no_program_is_started_while_nobody_takes_connections(tmp_path: Path) -> None:
    """A start costs a fifth of a second of CPU, and many cameras may be away at once."""
    starts = tmp_path / "starts"
    port = free_port()
    script = f"echo >> {starts}; echo away >&2"
    program = CaptureProgram(
        "test program", "test", ("/bin/sh", "-c", script), address=("127.0.0.1", port)
    )

    async def scenario() -> tuple[int, int]:
        capture = SupervisedProgram(program, "mix", "test")
        running = asyncio.create_task(capture.run(RingBuffer(), lambda _: None))
        await asyncio.sleep(5)
        away = starts.read_text().count("\n")
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
            await asyncio.sleep(3)
        running.cancel()
        return away, starts.read_text().count("\n")

    away, there = asyncio.run(scenario())
    assert away == 1
    assert there > 1
