"""`detector replay -`: what comes on stdin is a recording, or bare samples that are said to be."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import tone_bundle

RATE = 16_000


def high_tone() -> np.ndarray:
    """Two seconds of it, after two of silence."""
    tone = 0.3 * np.sin(2 * np.pi * 3000 * np.arange(2 * RATE) / RATE)
    return np.concatenate((np.zeros(2 * RATE), tone))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose only model knows two tones."""
    tone_bundle(tmp_path / "tones")
    path = tmp_path / "config.toml"
    path.write_text('[models.tones]\nbundle = "./tones"\n')
    return path


def test_replay_reads_raw_samples_from_stdin(config: Path) -> None:
    samples = high_tone()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "detector",
            "replay",
            "-",
            "--json",
            "--config",
            str(config),
            "--rate",
            "16000",
        ],
        input=(samples * 32767).astype("<i2").tobytes(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    start = json.loads(done.stdout.splitlines()[0])
    assert (start["source"], start["label"]) == ("stdin", "high")


def test_replay_decodes_a_recording_on_stdin_and_guesses_at_nothing(config: Path) -> None:
    """A WAV whose writer could not say how long it becomes, and the same without its header."""
    samples = high_tone()
    data = (samples * 32767).astype("<i2").tobytes()
    said = {}
    for name, options, converted in (
        ("said", ("--sample-format", "S16_LE"), data),
        ("wav", (), wav(data)),
        ("wav, said otherwise", ("--rate", "48000", "--channels", "2"), wav(data)),
        ("not said", (), data),
        ("wrong", ("--sample-format", "s12"), data),
    ):
        command = ("-m", "detector", "replay", "-", "--json", "--config", str(config))
        said[name] = subprocess.run(
            [sys.executable, *command, *options],
            input=converted,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert said["wav"].stdout == said["wav, said otherwise"].stdout == said["said"].stdout != b""
    assert [done.returncode for done in said.values()] == [0, 0, 0, 2, 2]
    assert (
        b"for bare samples, give --rate, --channels and --sample-format" in said["not said"].stderr
    )
    assert b"--sample-format s12: there are u8, s8, s16le, " in said["wrong"].stderr


def wav(data: bytes) -> bytes:
    """As ffmpeg and others write it to a pipe: without a length."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 2**32 - 1, b"WAVE", b"fmt ", 16, 1, 1, RATE,
                       2 * RATE, 2, 16)  # fmt: skip
    return head + struct.pack("<4sI", b"data", 2**32 - 1) + data
