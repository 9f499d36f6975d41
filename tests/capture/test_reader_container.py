"""A recording that comes while it is made, and leaves something out."""

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from detector.capture.programs.framing import (
    HEADER_BYTES,
    Kind,
    payload_bytes,
    unpack_format,
    unpack_header,
)
from detector.capture.reader.container import hear_container
from detector.capture.reader.incoming import Incoming
from detector.capture.reader.output import Output

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def payloads(written: io.BytesIO, kind: Kind) -> list[bytes]:
    found = []
    written.seek(0)
    while header_bytes := written.read(HEADER_BYTES):
        header = unpack_header(header_bytes)
        payload = written.read(payload_bytes(header, 1))
        if header.kind is kind:
            found.append(payload)
    return found


def test_no_more_is_left_out_than_time_has_gone_by_and_the_codec_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tone.opus"
    sine = ("-f", "lavfi", "-i", "sine=d=25")
    command = (
        "ffmpeg",
        "-v",
        "error",
        *sine,
        "-b:a",
        "32k",
        "-page_duration",
        "1000000",
        str(path),
    )
    subprocess.run(command, check=True)
    pages = re.split(b"(?=OggS)", path.read_bytes())[1:]
    path.write_bytes(b"".join([*pages[:4], pages[12], pages[-1]]))
    written = io.BytesIO()
    with path.open("rb") as file:
        quiet = [].clear
        hear_container(Incoming(file.fileno(), quiet=quiet, silent=quiet), Output(written))
    notes = b"\n".join(payloads(written, Kind.NOTE)).decode()
    assert [float(s) > 0 for s in re.findall(r"(\S+) s cannot be heard", notes)] == [True]
    assert unpack_format(payloads(written, Kind.FORMAT)[0]).codec == "opus"
