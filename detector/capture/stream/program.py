"""The stream program, as the daemon runs it. It loads none of what that program needs."""

import ssl
import sys
from pathlib import Path
from urllib.request import getproxies

from detector.capture.programs.program import CaptureProgram
from detector.capture.stream.request import MOST_PATIENCE_S, StreamRequest
from detector.settings.sources import SourceSettings


def stream_program(settings: SourceSettings) -> CaptureProgram:
    """The program that captures the stream of a source."""
    request = StreamRequest(
        source=settings.name,
        url=settings.url or "",
        username=settings.username,
        password_file=str(settings.password_file) if settings.password_file else None,
        password_credential=settings.password_credential,
        transport=settings.transport,
        timeout_s=settings.timeout_s,
        headers=settings.headers,
        verify_tls=settings.verify_tls,
        ca_file=str(settings.ca_file) if settings.ca_file else system_authorities(),
        audio_stream=settings.audio_stream,
    )
    proxied = request.scheme in ("http", "https") and bool(getproxies())
    return CaptureProgram(
        name="stream program",
        source=request.place,
        command=(sys.executable, "-m", "detector.capture.stream"),
        request=request.to_line(),
        open_s=settings.timeout_s + 5,
        give_up_s=MOST_PATIENCE_S,
        longest_pause_s=30.0,
        address=None if proxied else request.address,
    )


def system_authorities() -> str | None:
    """The file with all certificates that this machine trusts."""
    paths = ssl.get_default_verify_paths()
    candidates = (
        paths.cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    )
    return next((path for path in candidates if path and Path(path).is_file()), None)
