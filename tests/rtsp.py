"""A camera that tests start, freeze, end and give other codecs: `rtsp_server.py`."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import free_port

_PROGRAM = Path(__file__).with_name("rtsp_server.py")
_PYTHON = "/usr/bin/python3"
_PARTS = (
    "import gi; gi.require_version('GstRtspServer', '1.0')\n"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
    "parts = 'opusenc avenc_aac alawenc mulawenc jpegenc capssetter rtpjpegpay'.split()\n"
    "assert all(Gst.ElementFactory.find(part) for part in parts)"
)


class Camera:
    """An RTSP server on 127.0.0.1."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self.start()

    def url(self, path: str = "live", login: str = "") -> str:
        """The URL of one of its streams."""
        return f"rtsp://{login}{'@' * bool(login)}127.0.0.1:{self.port}/{path}"

    def start(self, codec: str = "opus") -> None:
        """Start it (again), and have `live` in a codec; return once it can be reached."""
        self._process = subprocess.Popen(
            [_PYTHON, str(_PROGRAM), str(self.port), codec, *self._options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the RTSP server does not start")

    def stop(self) -> None:
        """Let it hang."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def cont(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Pull its plug."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


@contextlib.contextmanager
def running_camera(*options: str) -> Iterator[Camera]:
    """A camera that ends with the context."""
    present = subprocess.run([_PYTHON, "-c", _PARTS], capture_output=True, check=False)
    if present.returncode:
        pytest.skip("GStreamer's RTSP server is not installed (scripts/test names the packages)")
    camera = Camera(*options)
    try:
        yield camera
    finally:
        camera.kill()


@pytest.fixture
def camera() -> Iterator[Camera]:
    """A camera of the test's own."""
    with running_camera() as running:
        yield running


@pytest.fixture(scope="module")
def steady_camera() -> Iterator[Camera]:
    """A camera that the tests of a file share."""
    with running_camera() as running:
        yield running
