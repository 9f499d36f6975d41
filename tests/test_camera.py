"""A camera with sound to events on MQTT, as the documentation says it is done."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, broker
from tests.bundles import loudness_bundle
from tests.daemon import ROOT
from tests.daemon import running as daemon
from tests.rtsp import Camera, running_camera

__all__ = ["broker"]

pytestmark = pytest.mark.broker

PORCH = "detector/attic/porch"
SECRET = "correct-horse:battery/staple@"  # noqa: S105 (of a camera that the test starts)


def configuration(folder: Path, broker: Broker, camera: Camera, password: str = SECRET) -> Path:
    loudness_bundle(folder / "loudness", outputs=("frames",))
    (folder / "porch.password").write_text(password)
    path = folder / "detector.toml"
    path.write_text(
        f'node = "attic"\nstate_dir = "state"\n[log]\nlevel = "debug"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        '[models.loudness]\nbundle = "./loudness"\n'
        f'[[sources]]\nname = "porch"\nurl = "{camera.url()}"\nusername = "admin"\n'
        'password_file = "porch.password"\n'
    )
    return path


def check(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detector", "check", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def onsets(subscriber: Subscriber) -> list[datetime]:
    events = [json.loads(text) for text in subscriber.on(f"{PORCH}/events/loud")]
    return [datetime.fromisoformat(e["onset"]) for e in events if e["type"] == "start"]


def test_a_cameras_sound_becomes_events_at_their_time_and_its_password_is_shown_nowhere(
    broker: Broker, tmp_path: Path
) -> None:
    async def scenario(config: Path) -> str:
        async with broker.subscriber() as heard, daemon(config) as service:
            await heard.until(lambda s: s.last(f"{PORCH}/status") == "listening")
            await heard.until(lambda s: len(onsets(s)) >= 4)
            since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
            late = [(onset.timestamp() + since_boot_s) % 0.5 for onset in onsets(heard)]
            assert max(late) < 0.3
            assert max(late) - min(late) < 0.1
            sent = "".join(f"{m.topic.value} {m.payload!r}" for m in heard.messages)
        return service.output + sent

    with running_camera("--login", f"admin:{SECRET}") as camera:
        config = configuration(tmp_path, broker, camera)
        checked = check(config)
        expected = f"sources.porch: rtsp://127.0.0.1:{camera.port}: opus, 2 channels at 48000 Hz, -"
        assert expected in checked.stdout
        shown = asyncio.run(scenario(config)) + checked.stdout + checked.stderr
        for word in ("horse", "battery", "staple"):
            assert word not in shown


def test_check_says_what_is_wrong_with_a_camera(broker: Broker, tmp_path: Path) -> None:
    with running_camera("--login", f"admin:{SECRET}") as camera:
        checked = check(configuration(tmp_path, broker, camera, password="wrong"))  # noqa: S106
        assert checked.returncode == 4
        [line] = [line for line in checked.stdout.splitlines() if line.startswith("wrong")]
        assert "sources.porch: rtsp://127.0.0.1:" in line
        assert "refuses the login: check user and password in sources.porch" in line
        assert "admin" not in line
