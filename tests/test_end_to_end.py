"""The whole service on real sound: PulseAudio's null sink is heard by `detector run`, a real
Mosquitto carries what it says, and a subscriber checks it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detector.publish.messages import json_schema
from tests.broker import Broker, Subscriber, broker
from tests.bundles import tone_bundle
from tests.daemon import running as daemon
from tests.recordings import held_out_clips, needs_recordings
from tests.scene import SECONDS, Truth, render
from tests.sound import SoundServer, tone

__all__ = ["broker"]

pytestmark = [pytest.mark.sound, pytest.mark.broker]

NODE = "detector/attic"
LABELS = ("dog", "crying_baby", "siren", "rooster", "church_bells", "clock_alarm")


def write_config(folder: Path, port: int, model: str = "") -> Path:
    path = folder / "config.toml"
    path.write_text(
        f'node = "attic"\n[mqtt]\nport = {port}\n{model}\n'
        '[[sources]]\nname = "hall"\ndevice = "hall"\n'
    )
    return path


def utc(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


async def listening(subscriber: Subscriber) -> None:
    await subscriber.until(lambda s: s.last(f"{NODE}/hall/status") == "listening")


def events(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(text) for text in subscriber.on(f"{NODE}/hall/events/+")]


@needs_recordings
@pytest.mark.recordings
@pytest.mark.slow
def test_a_minute_of_real_sounds_is_told_by_mqtt(
    sound_server: SoundServer, broker: Broker, tmp_path: Path
) -> None:
    clips = held_out_clips()
    truth = render(tmp_path / "scene.wav", {label: clips[label][0] for label in LABELS})

    async def hear() -> tuple[float, Subscriber]:
        async with broker.subscriber() as subscriber, daemon(write_config(tmp_path, broker.port)):
            await listening(subscriber)
            began = time.time()
            await asyncio.to_thread(sound_server.play, tmp_path / "scene.wav")
            assert time.time() - began == pytest.approx(SECONDS, abs=3)
            # A sound at the very end leaves the window some seconds later.
            await subscriber.until(lambda s: not open_segments(events(s)))
            assert subscriber.last(f"{NODE}/status") == "online"
            return began, subscriber

    began, subscriber = asyncio.run(hear())
    told = events(subscriber)
    right = [t for t in truth if heard(t, told, began)]
    assert len(right) >= 4, f"only {right} of {truth} in {summary(told, began)}"
    assert_well_formed(told)
    for label in {event["label"] for event in told}:
        states = subscriber.on(f"{NODE}/hall/state/{label}")
        changes = [e for e in told if e["label"] == label and e["type"] != "update"]
        assert states == ["OFF", *("ON" if e["type"] == "start" else "OFF" for e in changes)]
    assert subscriber.on(f"{NODE}/hall/gaps") == []


def heard(truth: Truth, told: list[dict[str, Any]], began: float) -> bool:
    return any(
        event["type"] == "start"
        and event["label"] == truth.label
        and abs(utc(event["onset"]) - began - truth.onset_s) <= 1.5
        for event in told
    )


def open_segments(told: list[dict[str, Any]]) -> set[str]:
    ended = {event["id"] for event in told if event["type"] == "end"}
    return {event["id"] for event in told} - ended


def summary(told: list[dict[str, Any]], began: float) -> list[tuple[str, str, float]]:
    return [(e["type"], e["label"], round(utc(e["onset"]) - began, 1)) for e in told]


def assert_well_formed(told: list[dict[str, Any]]) -> None:
    """Schema, sequence, and one end for each start."""
    for event in told:
        jsonschema.validate(event, json_schema())
    assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))
    kinds = Counter((event["id"], event["type"]) for event in told)
    for identity in {event["id"] for event in told}:
        assert kinds[identity, "start"] == kinds[identity, "end"] == 1
    for event in told:
        if event["type"] == "end":
            assert utc(event["offset"]) - utc(event["onset"]) == pytest.approx(
                event["duration_s"], abs=0.002
            )


TONES = '[models.tones]\nbundle = "./tones"\n'


def test_a_stop_ends_what_is_open_and_says_that_it_was_cut(
    sound_server: SoundServer, broker: Broker, tmp_path: Path
) -> None:
    tone_bundle(tmp_path / "tones")

    async def hear() -> Subscriber:
        config = write_config(tmp_path, broker.port, TONES)
        async with broker.subscriber() as subscriber, daemon(config) as running:
            await listening(subscriber)
            playing = asyncio.create_task(
                asyncio.to_thread(sound_server.play_samples, tone(500, 6), 16_000)
            )
            await subscriber.until(lambda s: s.last(f"{NODE}/hall/state/low") == "ON")
            stopped = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
            assert time.monotonic() - stopped < 10
            await subscriber.until(lambda s: s.last(f"{NODE}/status") == "offline")
            await playing
            return subscriber

    subscriber = asyncio.run(hear())
    start, *_, end = events(subscriber)
    assert (start["type"], end["type"], end["truncated"]) == ("start", "end", True)
    assert start["id"] == end["id"]
    assert subscriber.last(f"{NODE}/hall/state/low") == "OFF"
    assert subscriber.last(f"{NODE}/hall/status") == "offline"


async def cut_off(subscriber: Subscriber, since: float, within_s: float) -> dict[str, Any]:
    """Wait for the end of the only sound; it comes although the microphone is still gone."""
    await subscriber.until(lambda s: s.last(f"{NODE}/hall/state/low") == "OFF")
    assert time.time() - since < within_s
    assert subscriber.on(f"{NODE}/hall/gaps") == [], "nobody knows yet how long it is"
    start, *_, end = events(subscriber)
    assert (start["type"], end["type"], end["truncated"]) == ("start", "end", True)
    assert start["id"] == end["id"]
    assert -0.6 < utc(end["offset"]) - since < 0.3
    return end


def assert_goes_on(subscriber: Subscriber, end: dict[str, Any], reason: str) -> None:
    """After the cut, the gap was told, and the sound that began behind it."""
    [text] = subscriber.on(f"{NODE}/hall/gaps")
    gap = json.loads(text)
    assert gap["reason"] == reason
    assert utc(gap["begin"]) == pytest.approx(utc(end["offset"]), abs=0.01)
    told = events(subscriber)
    assert [e["type"] for e in told if e["type"] != "update"] == ["start", "end"] * 2
    assert utc(told[-1]["onset"]) >= utc(gap["end"]) - 0.01
    assert_well_formed(told)
    assert subscriber.on(f"{NODE}/hall/state/low")[-4:] == ["ON", "OFF"] * 2


def test_a_sound_ends_when_the_microphone_stalls_and_begins_anew_when_it_is_heard_again(
    sound_server: SoundServer, broker: Broker, tmp_path: Path
) -> None:
    tone_bundle(tmp_path / "tones")

    async def hear() -> tuple[Subscriber, dict[str, Any]]:
        config = write_config(tmp_path, broker.port, TONES)
        async with broker.subscriber() as subscriber, daemon(config) as running:
            await listening(subscriber)
            playing = asyncio.create_task(
                asyncio.to_thread(sound_server.play_samples, tone(500, 6), 16_000)
            )
            await subscriber.until(lambda s: s.last(f"{NODE}/hall/state/low") == "ON")
            stalled = time.time()
            sound_server.stop()
            try:
                end = await cut_off(subscriber, stalled, within_s=4.5)
                assert subscriber.last(f"{NODE}/hall/status") == "stalled"
            finally:
                sound_server.cont()
            await subscriber.until(lambda s: s.last(f"{NODE}/hall/state/low") == "ON")
            running.process.send_signal(signal.SIGTERM)
            await subscriber.until(lambda s: s.last(f"{NODE}/status") == "offline")
            await playing
            return subscriber, end

    subscriber, end = asyncio.run(hear())
    assert_goes_on(subscriber, end, "stall")


def test_a_sound_ends_when_the_microphone_is_unplugged_and_begins_anew_when_it_is_back(
    sound_server: SoundServer, broker: Broker, tmp_path: Path
) -> None:
    tone_bundle(tmp_path / "tones")

    def play() -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # its sink goes as well
            sound_server.play_samples(tone(500, 6), 16_000)

    async def hear() -> tuple[Subscriber, dict[str, Any]]:
        config = write_config(tmp_path, broker.port, TONES)
        async with broker.subscriber() as subscriber, daemon(config) as running:
            await listening(subscriber)
            playing = asyncio.create_task(asyncio.to_thread(play))
            await subscriber.until(lambda s: s.last(f"{NODE}/hall/state/low") == "ON")
            unplugged = time.time()
            sound_server.unload_sink()
            end = await cut_off(subscriber, unplugged, within_s=5)
            assert subscriber.last(f"{NODE}/hall/status") == "offline"
            await playing
            sound_server.load_sink()
            await listening(subscriber)
            again = asyncio.create_task(asyncio.to_thread(play))
            await subscriber.until(lambda s: s.last(f"{NODE}/hall/state/low") == "ON")
            running.process.send_signal(signal.SIGTERM)
            await subscriber.until(lambda s: s.last(f"{NODE}/status") == "offline")
            await again
            return subscriber, end

    subscriber, end = asyncio.run(hear())
    assert_goes_on(subscriber, end, "restart")


def test_the_last_will_speaks_for_a_daemon_that_was_killed(
    sound_server: SoundServer, broker: Broker, tmp_path: Path
) -> None:
    tone_bundle(tmp_path / "tones")

    async def hear() -> None:
        config = write_config(tmp_path, broker.port, TONES)
        async with broker.subscriber() as subscriber, daemon(config) as running:
            await listening(subscriber)
            assert subscriber.last(f"{NODE}/status") == "online"
            running.process.kill()
            await subscriber.until(lambda s: s.last(f"{NODE}/status") == "offline")
            await orphans_gone(running.process.pid)

    asyncio.run(hear())


async def orphans_gone(pid: int, patience_s: float = 3.0) -> None:
    """The microphone program must not outlive the daemon, in whose environment it stands."""
    deadline = time.monotonic() + patience_s
    while microphones():
        assert time.monotonic() < deadline, f"still there after {pid} was killed: {microphones()}"
        await asyncio.sleep(0.1)


def microphones() -> list[str]:
    """The microphone programs that listen to this test's sound server."""
    server = f"PULSE_SERVER={os.environ['PULSE_SERVER']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"capture.microphone" in command and server in (process / "environ").read_bytes():
                found.append(process.name)
    return found


def test_the_detector_listens_without_a_broker_and_delivers_when_it_comes(
    sound_server: SoundServer, tmp_path: Path
) -> None:
    tone_bundle(tmp_path / "tones")

    async def hear() -> list[dict[str, Any]]:
        with Broker(tmp_path) as late:
            async with daemon(write_config(tmp_path, late.port, TONES)):
                await asyncio.sleep(4)
                await asyncio.to_thread(sound_server.play_samples, tone(3000, 2), 16_000)
                late.start()
                async with late.subscriber() as subscriber:
                    await subscriber.until(lambda s: len(events(s)) >= 2)
                    return events(subscriber)

    start, end = asyncio.run(hear())
    assert (start["label"], start["type"], end["type"]) == ("high", "start", "end")
    assert end["duration_s"] == pytest.approx(2, abs=1)
