"""The service with a model on a server: the small one, and a real Triton where there is one."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from detector.records import SAMPLE_RATE
from tests.bundles import LOW_HZ, loudness_bundle, tone_bundle
from tests.daemon import Daemon, running
from tests.inference_process import ServiceProcess, TritonProcess, needs_triton
from tests.test_pipeline import SCENE, scene

Server = ServiceProcess | TritonProcess
RECOVERY_S = 5.0
DEADLINE_S = 1.0
OUTAGE_S = 5.0
"""Long enough for more failures than a model here may have in a row."""
HOP_S = 0.1
CONFIG = """
mqtt.enabled = false
console.enabled = true
log.format = "json"
[models.tones]
bundle = "./tones"
remote = "{address}"
remote_deadline_s = {deadline_s}
hop_s = {hop_s}
update_interval_s = 600.0
[models.loudness]
bundle = "./loudness"
update_interval_s = 600.0
[[sources]]
name = "hall"
audio_file = "scene.wav"
"""


@pytest.fixture(params=[ServiceProcess, pytest.param(TritonProcess, marks=needs_triton)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One that serves the tones, of which the node has no more than the description."""
    kind: type[Server] = request.param
    tones = tone_bundle(
        tmp_path / "served", "tones", outputs=("clip", "frames"), window_s=1.28, hop_s=0.2
    )
    shutil.copytree(tones, tmp_path / "tones")
    loudness_bundle(tmp_path / "loudness", window_s=0.5, hop_s=0.1)
    with kind(tmp_path, tones) as process:
        yield process


def config(server: Server, folder: Path, *, remote: bool = True) -> Path:
    text = CONFIG.format(address=server.address, deadline_s=DEADLINE_S, hop_s=HOP_S)
    path = folder / ("remote.toml" if remote else "local.toml")
    if not remote:
        text = "".join(line for line in text.splitlines(keepends=True) if "remote" not in line)
    path.write_text(text)
    return path


def detector(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detector", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_events_are_those_of_the_model_here(server: Server, tmp_path: Path) -> None:
    sf.write(tmp_path / "scene.wav", SCENE, SAMPLE_RATE)
    replay = ("replay", tmp_path / "scene.wav", "--json", "--config")
    local = detector(*replay, config(server, tmp_path, remote=False))
    (tmp_path / "tones" / "model.onnx").unlink()
    server.start()
    remote = detector(*replay, config(server, tmp_path))
    assert (remote.returncode, local.returncode) == (0, 0), remote.stderr
    assert remote.stdout == local.stdout
    assert {json.loads(line)["model"] for line in local.stdout.splitlines()} == {
        "tones@1", "loudness@1",
    }  # fmt: skip


def test_check_says_where_a_model_runs_and_that_its_server_is_away(
    server: Server, tmp_path: Path
) -> None:
    sf.write(tmp_path / "scene.wav", SCENE, SAMPLE_RATE)
    away = detector("check", "--config", config(server, tmp_path))
    assert away.returncode == 4
    assert f"models.tones: {server.address}: model tones: it cannot be asked" in away.stdout
    server.start()
    done = detector("check", "--config", config(server, tmp_path))
    assert done.returncode == 0, done.stdout
    assert f"models.tones: tones@1 on {server.address}, 2 of 2 labels" in done.stdout
    assert "models.loudness: loudness@1 on cpu, 1 of 1 labels" in done.stdout


def stop(server: Server) -> Callable[[], object]:
    server.send(signal.SIGSTOP)
    return lambda: server.send(signal.SIGCONT)


def kill(server: Server) -> Callable[[], object]:
    server.kill()
    return server.start


def told(daemon: Daemon, model: str, what: str) -> list[dict[str, Any]]:
    """Events (which have a label) or gaps (which have a reason) of a model, so far."""
    found = [json.loads(line) for line in daemon.log if line.startswith("{")]
    return [one for one in found if one.get("model") == model and what in one]


def starts(daemon: Daemon, model: str) -> int:
    return sum(event["type"] == "start" for event in told(daemon, model, "label"))


async def until_it_hears(daemon: Daemon, model: str) -> None:
    heard = starts(daemon, model)
    await daemon.until(lambda: starts(daemon, model) > heard, f"{model} heard nothing")


@pytest.mark.slow
@pytest.mark.parametrize("break_it", [stop, kill])
def test_an_outage_of_the_server_is_a_gap_of_its_model_and_of_nothing_else(
    server: Server, tmp_path: Path, break_it: Callable[[Server], Callable[[], object]]
) -> None:
    tones = [(LOW_HZ, onset, onset + 1.0) for onset in np.arange(1, 120, 2.5)]
    sf.write(tmp_path / "scene.wav", scene(120, *tones), SAMPLE_RATE)

    async def run() -> None:
        server.start()
        async with running(config(server, tmp_path)) as daemon:
            await until_it_hears(daemon, "tones@1")
            mend = break_it(server)
            broken = time.monotonic()
            heard_beside = starts(daemon, "loudness@1")
            await daemon.says("a model fails")
            await asyncio.sleep(OUTAGE_S - (time.monotonic() - broken))
            assert starts(daemon, "loudness@1") > heard_beside
            await asyncio.to_thread(mend)
            mended = time.monotonic()
            await daemon.says("the server answers again")
            assert time.monotonic() - mended < RECOVERY_S
            away_s = time.monotonic() - broken
            await until_it_hears(daemon, "tones@1")
            gaps = told(daemon, "tones@1", "reason")
            assert {gap["reason"] for gap in gaps} == {"unscored"}
            # The first window that is scored again looks back.
            assert OUTAGE_S - 2 < sum(gap["duration_s"] for gap in gaps) < away_s + 1
            assert daemon.process.returncode is None
            assert not told(daemon, "loudness@1", "reason")
            assert not daemon.has_said('"stalled"')
            lengths = [e["duration_s"] for e in told(daemon, "loudness@1", "label") if e["offset"]]
            assert lengths == pytest.approx([1.0] * len(lengths), abs=0.3)

    asyncio.run(run())
