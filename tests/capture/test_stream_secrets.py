"""Passwords and certificates of streams: what is wrong is told, what is secret shown nowhere."""

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

from detector.settings.sources import SourceSettings
from tests.capturing import listening, reason, reasons
from tests.http_streams import LOGIN, SESAME, USER, StreamServer, stream_server
from tests.rtsp import running_camera

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    with stream_server(tmp_path_factory.mktemp("web")) as running:
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


def test_a_certificate_that_nobody_signed_is_trusted_only_if_the_settings_say_so(
    tmp_path: Path, certificate: Path
) -> None:
    async def is_heard(url: str, **settings: Any) -> None:
        async with listening(SourceSettings(name="porch", url=url, **settings)) as [capture]:
            await capture.heard(0.3)

    with stream_server(tmp_path, certificate) as secure:
        url = secure.url("aac")
        told = reason(url)
        assert "has a certificate that is not trusted (self-signed certificate" in told
        assert "give it as ca_file in sources.porch, or set verify_tls = false" in told
        asyncio.run(is_heard(url, ca_file=certificate))
        asyncio.run(is_heard(url, verify_tls=False))


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
