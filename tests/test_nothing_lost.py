"""The whole daemon on recordings, and a broker, a clock and a password that are not as they should
be: what it hears is delivered, in order, with the right durations, and no secret gets out."""

import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from tests.broker import Broker, Subscriber, broker, write_passwords
from tests.bundles import tone_bundle
from tests.daemon import running as daemon
from tests.killing import DaemonVictim, kill_often

__all__ = ["broker"]

pytestmark = pytest.mark.broker

RATE = 16_000
EVENTS = "detector/attic/hall/events/+"
SECRETS = ("correct-horse", "wrong-zebra")
STEPPED = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "real, off = time.time, Path(sys.argv.pop(1))\n"
    "time.time = lambda: real() + float(off.read_text())\n"
    "from detector.cli import main\n"
    "main()\n"
)
"""The detector with a wall clock that is wrong by what a file says. (libfaketime 0.9.10 also holds
up the timers of an event loop.)"""


def recording(path: Path, seconds: float, *tones: tuple[float, float]) -> Path:
    """A low tone from each onset to each offset, in seconds."""
    samples = np.zeros(round(seconds * RATE))
    times = np.arange(len(samples)) / RATE
    for onset, offset in tones:
        inside = (times >= onset) & (times < offset)
        samples[inside] = 0.3 * np.sin(2 * np.pi * 500 * times[inside])
    sf.write(path, samples, RATE)
    return path


def write_config(folder: Path, port: int, mqtt: str = "") -> Path:
    if not (folder / "tones").exists():
        tone_bundle(folder / "tones", window_s=1.28, hop_s=0.25)
    path = folder / "config.toml"
    path.write_text(
        f'node = "attic"\nstate_dir = "state"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{mqtt}\n'
        '[log]\nlevel = "debug"\n[models.tones]\nbundle = "./tones"\n'
        '[[sources]]\nname = "hall"\naudio_file = "hall.wav"\n'
    )
    return path


def events(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(text) for text in subscriber.on(EVENTS)]


def test_events_heard_without_a_broker_come_in_the_next_life_and_numbers_go_on(
    tmp_path: Path,
) -> None:
    recording(tmp_path / "hall.wav", 4, (1, 2.5))

    async def hear(broker: Broker) -> tuple[list[dict[str, Any]], list[str]]:
        config = write_config(tmp_path, broker.port)
        async with daemon(config) as first:
            assert await first.ended() == 0
        assert '"events": 2' in first.output or "events=2" in first.output, "it says what waits"
        broker.start()
        async with broker.subscriber() as seen, daemon(config) as second:
            await seen.until(lambda s: len(s.on(EVENTS)) >= 4)
            assert await second.ended() == 0
        return events(seen), seen.on("detector/attic/hall/state/low")

    with Broker(tmp_path) as broker:
        told, states = asyncio.run(hear(broker))
    assert [event["sequence"] for event in told] == [1, 2, 3, 4]
    assert [event["type"] for event in told] == ["start", "end"] * 2
    assert len({event["id"] for event in told}) == 2
    assert states[-1] == "OFF"


def test_row_6_a_daemon_killed_at_random_moments_loses_nothing_that_is_stored(
    broker: Broker, tmp_path: Path
) -> None:
    moments, outages = random.Random(6), random.Random()  # noqa: S311
    victim = DaemonVictim(tmp_path, moments, longest_s=3.0)
    outcome = asyncio.run(kill_often(broker, victim, 4, outages))
    assert outcome.failures == 0, outcome
    assert outcome.received >= outcome.stored > 0, outcome


@pytest.mark.slow
def test_row_24_steps_of_the_clock_change_no_duration_id_or_order(
    broker: Broker, tmp_path: Path
) -> None:
    """An hour ahead in the middle of the second sound, and back in the middle of the third."""
    tones = [(1.0, 2.5), (4.5, 6.5), (8.5, 10.5), (12.5, 14.0)]
    recording(tmp_path / "hall.wav", 16, *tones)
    clock = tmp_path / "clock"
    clock.write_text("0")

    def step(offset: str) -> None:
        clock.with_suffix(".new").write_text(offset)
        clock.with_suffix(".new").replace(clock)

    async def hear() -> list[dict[str, Any]]:
        config = write_config(tmp_path, broker.port)
        async with (
            broker.subscriber() as seen,
            daemon(config, "-c", STEPPED, str(clock)) as running,
        ):
            for count, offset in ((3, "3600"), (5, "0")):
                await seen.until(lambda s: len(s.on(EVENTS)) >= count)  # noqa: B023
                step(offset)
            assert await running.ended() == 0
            return events(seen)

    told = asyncio.run(hear())
    assert [event["sequence"] for event in told] == list(range(1, 9))
    assert [event["type"] for event in told] == ["start", "end"] * 4
    ids = [event["id"] for event in told]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == 4
    for end, (onset, offset) in zip(told[1::2], tones, strict=True):
        assert end["duration_s"] == pytest.approx(offset - onset, abs=0.6)
    assert not any(event["late"] for event in told)
    hours = [event["onset"][11:13] for event in told[::2]]
    assert len(set(hours)) >= 2, f"the clock was not stepped: {told}"


def test_row_12_no_secret_gets_out(tmp_path: Path) -> None:
    """Neither the right password nor a wrong one: not in logs, errors, arguments, state, topics."""
    write_passwords(tmp_path / "passwords", {"ear": SECRETS[0]})
    (tmp_path / "secret").write_text(f"{SECRETS[1]}\n")
    recording(tmp_path / "hall.wav", 30)
    shown: list[str] = []

    async def look(broker: Broker) -> None:
        config = write_config(
            tmp_path, broker.port, 'username = "ear"\npassword_file = "secret"\nscores = true'
        )
        async with daemon(config) as running:
            shown.append(await connecting(broker, "not authorised"))
            shown.extend(seen_from_outside(running.process.pid))
            (tmp_path / "secret").write_text(f"{SECRETS[0]}\n")
            await connecting(broker, "as detector-attic (")
            running.process.terminate()
            assert await running.ended() == 0
        shown.append(running.output)
        for password, code in zip(SECRETS, (0, 4), strict=True):
            (tmp_path / "secret").write_text(f"{password}\n")
            checked = await asyncio.to_thread(check, config)
            assert checked.returncode == code, checked.stdout
            shown.extend((checked.stdout, checked.stderr))

    with Broker(
        tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'passwords'}"
    ) as broker:
        asyncio.run(look(broker.start()))
        shown.append("\n".join(broker.log))
    assert "mqtt.username" in shown[3] + shown[2] + shown[1], "the cause is named"
    shown += [
        file.read_bytes().decode("utf-8", "replace")
        for file in (tmp_path / "state").rglob("*")
        if file.is_file()
    ]
    for secret in SECRETS:
        for text in shown:
            assert secret not in text


async def connecting(broker: Broker, what: str) -> str:
    """Wait for the broker to say so."""
    async with asyncio.timeout(20):
        while not (said := [line for line in broker.log if what in line]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return said[-1]


def seen_from_outside(pid: int) -> list[str]:
    """Arguments and environment of a process and of those that it started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = re.search(r"^PPid:\s+(\d+)$", (process / "status").read_text(), re.MULTILINE)
            if process.name == str(pid) or (parent and parent[1] == str(pid)):
                found += [(process / name).read_text() for name in ("cmdline", "environ")]
    return found


def check(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detector", "check", "--config", str(config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
