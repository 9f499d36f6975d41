"""What is no sound is told in a sentence of its own, once, and nothing secret in it."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from detector.capture.capture import open_capture
from detector.capture.ring import RingBuffer
from detector.settings.sources import SourceSettings
from tests.broker import free_port
from tests.capturing import listening
from tests.http_streams import LOGIN, SESAME, USER, StreamServer, stream_server
from tests.rtsp import Camera, running_camera, steady_camera

__all__ = ["steady_camera"]

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    folder = tmp_path_factory.mktemp("web")
    tone = ("-f", "lavfi", "-i", "sine=d=3")
    subprocess.run(["ffmpeg", "-v", "error", *tone, str(folder / "recording.mp3")], check=True)
    with stream_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, which nobody has signed, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, signed = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(signed)),
        ],
        check=True,
        capture_output=True,
    )
    signed.write_text(signed.read_text() + key.read_text())
    return signed


async def reasons(url: str, seconds: float = 0, **settings: Any) -> list[str]:
    """Why a source is offline, as it is logged until so long after the first time."""
    capture, ring, offline = None, RingBuffer(), asyncio.Event()
    structlog.reset_defaults()
    with capture_logs() as logs:
        capture = open_capture(SourceSettings(name="porch", url=url, **settings))
        running = asyncio.create_task(
            capture.run(ring, lambda status: status == "offline" and offline.set())
        )
        try:
            async with asyncio.timeout(15):
                await offline.wait()
            await asyncio.sleep(seconds)
        finally:
            running.cancel()
            await asyncio.wait([running])
    return [str(entry["reason"]) for entry in logs if entry["log_level"] == "warning"]


def reason(url: str, **settings: Any) -> str:
    """Why a source is offline."""
    [only] = asyncio.run(reasons(url, **settings))
    return only


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
        ("drip", ": nothing has come for"),
    ],
)
def test_a_server_that_sends_no_stream_says_why(server: StreamServer, path: str, told: str) -> None:
    assert told in reason(server.url(path), timeout_s=1.0)


def test_a_host_that_does_not_exist_is_named() -> None:
    assert "rtsp://camera.invalid: there is no host of that name" in reason(
        "rtsp://u:secret@camera.invalid/secret"
    )


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "rtmp"])
def test_a_port_at_which_nobody_listens_is_named(scheme: str) -> None:
    told = reason(f"{scheme}://127.0.0.1:{free_port()}/x")
    assert "refuses the connection: check the port" in told


def test_a_certificate_that_nobody_signed_is_trusted_only_if_the_settings_say_so(
    tmp_path: Path, certificate: Path
) -> None:
    async def is_heard(**settings: Any) -> None:
        url = server.url("aac")
        async with listening(SourceSettings(name="porch", url=url, **settings)) as [capture]:
            await capture.heard(0.3)

    with stream_server(tmp_path, certificate) as server:
        told = reason(server.url("aac"))
        assert "has a certificate that is not trusted (self-signed certificate" in told
        assert "give it as ca_file in sources.porch, or set verify_tls = false" in told
        asyncio.run(is_heard(ca_file=certificate))
        asyncio.run(is_heard(verify_tls=False))


def test_who_does_not_speak_tls_is_found_out(server: StreamServer) -> None:
    told = reason(server.url("aac").replace("http:", "https:"))
    assert "does not speak TLS as it should" in told


def test_a_camera_with_tls_is_verified_too(certificate: Path) -> None:
    with running_camera("--certificate", str(certificate)) as camera:
        url = camera.url().replace("rtsp:", "rtsps:")
        assert "has a certificate that is not trusted" in reason(url)

        async def is_heard() -> None:
            source = SourceSettings(name="porch", url=url, ca_file=certificate)
            async with listening(source) as [capture]:
                await capture.heard(0.3)

        asyncio.run(is_heard())


def test_a_reason_is_told_once_and_again_only_when_it_changes(server: StreamServer) -> None:
    async def scenario() -> list[str]:
        asking = asyncio.create_task(reasons(server.url("aac"), seconds=5))
        await asyncio.sleep(3)
        server.start()
        return await asking

    server.stop()
    with contextlib.suppress(OSError):
        told = asyncio.run(scenario())
    assert len(told) == 1


def shown_by_processes(*secrets: str) -> list[str]:
    """What `ps` would show of them."""
    shown = ""
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            shown += (path / "cmdline").read_text() + (path / "environ").read_text()
    return [secret for secret in secrets if secret in shown]


def test_a_wrong_password_is_tried_once_a_minute_and_a_right_one_is_shown_nowhere(
    server: StreamServer, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong-one")
    settings = {"username": USER, "password_file": file}
    server.asked.clear()
    [told] = asyncio.run(reasons(server.url("login"), seconds=4, **settings))
    assert "refuses the login: check user and password in sources.porch" in told
    assert len(server.asked) <= 2  # FFmpeg asks without a password first

    file.write_text(f"{SESAME}\nignored\n")

    async def scenario() -> None:
        source = SourceSettings.model_validate(
            {"name": "porch", "url": server.url("login"), **settings}
        )
        async with listening(source) as [capture]:
            await capture.heard(0.3)
            assert not shown_by_processes(SESAME, LOGIN)

    structlog.reset_defaults()
    with capture_logs() as logs:
        asyncio.run(scenario())
    assert SESAME not in str(logs)
    assert "%40" not in str(logs)


def test_digest_authentication_is_spoken_and_a_password_in_the_url_is_shown_nowhere() -> None:
    with running_camera("--login", "admin:correct-horse") as camera:

        async def scenario() -> None:
            url = camera.url(login="admin:correct-horse")
            async with listening(SourceSettings(name="porch", url=url)) as [capture]:
                await capture.heard(0.3)
                assert "horse" not in repr(capture)

        structlog.reset_defaults()
        with capture_logs() as logs:
            asyncio.run(scenario())
        assert "horse" not in str(logs)
        told = reason(camera.url(login="admin:battery-staple"))
        assert "refuses the login" in told
        assert "staple" not in told
        assert "admin" not in told


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file or directory"), ("", "the first line is empty")],
)
def test_a_password_that_cannot_be_read_is_told_with_its_field(
    tmp_path: Path, content: str | None, told: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    said = reason("rtsp://127.0.0.1:1/x", username="admin", password_file=file)
    assert said == f"sources.porch.password_file: {file}: {told}"


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
