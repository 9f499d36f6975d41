"""The service and its commands, with sources that others write to."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bundles import tone_bundle
from tests.daemon import ROOT, running

CONFIG = """
[mqtt]
enabled = false
[models.tones]
bundle = "./tones"
"""


def source(name: str, setting: str) -> str:
    return f'[[sources]]\nname = "{name}"\n{setting}\n'


def write_config(folder: Path, **settings: str) -> Path:
    tone_bundle(folder / "tones", window_s=0.64, hop_s=0.16)
    path = folder / "config.toml"
    path.write_text(CONFIG + "".join(source(*each) for each in settings.items()))
    return path


def test_sigterm_ends_the_service_within_a_second_while_nobody_writes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "wrong")
    path = write_config(
        tmp_path,
        hall='fifo = "hall"',
        yard=f'socket = "unix:{tmp_path}/yard"',
        loft='program = ["sleep", "60"]',
        attic='audio_file = "wrong"',
    )

    async def scenario() -> None:
        async with running(path) as daemon:
            await daemon.says(f"nobody writes to {tmp_path}/hall")
            await daemon.says(f"nobody sends to unix:{tmp_path}/yard")
            await daemon.says("is a FIFO (named pipe), no recording; set fifo to it")
            began = time.monotonic()
            daemon.process.terminate()
            assert await daemon.ended() == 0
            assert time.monotonic() - began < 3

    asyncio.run(scenario())


def test_check_describes_them_and_says_what_is_wrong(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    raw = "rate = 16000\nchannels = 2\nsample_format = 'S16_LE'"
    path = write_config(
        tmp_path,
        hall=f'fifo = "pipe"\n{raw}',
        yard='fifo = "new"',
        attic='fifo = "config.toml"',
        loft='program = ["sh", "-c", "true"]',
        cellar='program = ["no-such-program"]',
        barn='socket = "tcp:0.0.0.0:9"\nbeyond_loopback = true',
        shed='socket = "unix:/no/folder/x"',
        den='audio_file = "pipe"',
    )
    done = subprocess.run(
        [sys.executable, "-m", "detector", "check", "--config", str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    lines = [line for line in done.stdout.splitlines() if "sources." in line]
    words = (
        ("ok", "pipe; s16le, 16000 Hz, 2 channels"),
        ("ok", "new, which will be made; a recording or records: bare samples are refused"),
        ("wrong", "config.toml: is no FIFO (named pipe); a recording is audio_file"),
        ("wrong", "ended"),
        ("wrong", "program 'no-such-program' cannot be found"),
        ("ok", "socket tcp:0.0.0.0:9, open to other machines; "),
        ("wrong", "/no/folder/x: there is no folder /no/folder"),
        ("wrong", "pipe: is a FIFO (named pipe), no recording; set fifo to it"),
    )
    for line, (mark, told) in zip(lines, words, strict=True):
        assert line.startswith(mark)
        assert told in line
