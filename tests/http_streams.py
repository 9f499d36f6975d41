"""A web server that streams sound as radios and cameras do, or as none should."""

import base64
import contextlib
import http.server
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

FORMATS: Final = {
    "mp3": ("audio/mpeg", ["-c:a", "libmp3lame", "-b:a", "64k", "-f", "mp3"]),
    "aac": ("audio/aac", ["-c:a", "aac", "-b:a", "64k", "-f", "adts"]),
    "ogg": (
        "audio/ogg",
        ["-c:a", "libopus", "-page_duration", "100000", "-f", "ogg"],
    ),
    "ts": ("video/mp2t", ["-c:a", "aac", "-b:a", "64k", "-f", "mpegts"]),
    "wav": ("audio/wav", ["-c:a", "pcm_s16le", "-f", "wav"]),
}
ANSWERS: Final[dict[str, tuple[Any, ...]]] = {
    "forbidden": (403,),
    "broken": (500,),
    "empty": (200,),
    "redirect": (302, ("Location", "/mp3")),
    "around": (302, ("Location", "/around")),
}
TONE_HZ: Final = 440
USER: Final = "radio ham"
SESAME: Final = "open/sesame@:#%"
LOGIN: Final = base64.b64encode(f"{USER}:{SESAME}".encode()).decode()


def encode(form: str, rate: int = 44_100, seconds: float = 600) -> subprocess.Popen[bytes]:
    """A tone as it happens, encoded, on the stdout of ffmpeg."""
    tone = ("-re", "-f", "lavfi", "-i", f"sine={TONE_HZ}:r={rate}:d={seconds}")
    return subprocess.Popen(
        ["ffmpeg", "-v", "error", *tone, *FORMATS[form][1], "-flush_packets", "1", "-"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


class _Handler(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, dict[str, str]]]]
    folder: ClassVar[Path]

    def do_GET(self) -> None:
        self.asked.append((self.path, dict(self.headers)))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._answer(self.path.lstrip("/").partition("?")[0])

    def _answer(self, path: str) -> None:
        if path in FORMATS:
            self._stream(path)
        elif path in ANSWERS:
            self._say(*ANSWERS[path])
        elif path in ("login", "page", "silent", "drip", "flood", "header", "change"):
            getattr(self, f"_{path}")()
        elif (self.folder / path).is_file():
            self._file(self.folder / path)
        else:
            self._say(404)

    def _say(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _file(self, path: Path) -> None:
        data = path.read_bytes()
        self._say(200, ("Content-Length", str(len(data))))
        self.wfile.write(data)

    def _stream(self, form: str) -> None:
        self._say(200, ("Content-Type", FORMATS[form][0]))
        self._send(encode(form))

    def _change(self) -> None:
        """Two seconds of AAC in one form, and then another, as a radio changes its programme."""
        self._say(200, ("Content-Type", "audio/aac"))
        self._send(encode("aac", seconds=2))
        self._send(encode("aac", rate=16_000))

    def _send(self, encoder: subprocess.Popen[bytes]) -> None:
        assert encoder.stdout is not None
        try:
            while data := os.read(encoder.stdout.fileno(), 65_536):
                self.wfile.write(data)
        finally:
            encoder.kill()
            encoder.wait()
            encoder.stdout.close()

    def _login(self) -> None:
        if self.headers["Authorization"] == f"Basic {LOGIN}":
            self._stream("mp3")
        else:
            self._say(401, ("WWW-Authenticate", 'Basic realm="radio"'))

    def _page(self) -> None:
        self._say(200, ("Content-Type", "text/html"))
        self.wfile.write(b"<html><body>A camera's own page</body></html>" * 50)

    def _silent(self) -> None:
        self._say(200, ("Content-Type", "audio/mpeg"))
        time.sleep(30)

    def _drip(self) -> None:
        """A second of sound, and then a byte now and then."""
        self._say(200, ("Content-Type", "audio/mpeg"))
        data = (self.folder / "long.mp3").read_bytes()
        self.wfile.write(data[:16_000])
        for i in range(16_000, 16_200):
            time.sleep(0.2)
            self.wfile.write(data[i : i + 1])

    def _flood(self) -> None:
        """Two and a half minutes of sound at once; nothing says how long it is."""
        self._say(200, ("Content-Type", "audio/mpeg"))
        self.wfile.write((self.folder / "long.mp3").read_bytes())

    def _header(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for i in range(10_000):
            self.wfile.write(f"X-More-{i}: {'x' * 100}\r\n".encode())
            time.sleep(0.01)

    def log_message(self, *_: Any) -> None:
        pass


class StreamServer:
    """On a port of its own of 127.0.0.1; it ends with the context."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        """The paths that were asked for, with their headers."""
        self._certificate = certificate
        self._handler = type("Handler", (_Handler,), {"asked": self.asked, "folder": folder})
        self.port = 0
        self.start()

    def url(self, path: str) -> str:
        return f"http{'s' * bool(self._certificate)}://127.0.0.1:{self.port}/{path}"

    def start(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if self._certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def stop(self) -> None:
        """Take no further connections."""
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def stream_server(folder: Path, certificate: Path | None = None) -> Iterator[StreamServer]:
    server = StreamServer(folder, certificate)
    try:
        yield server
    finally:
        server.stop()
