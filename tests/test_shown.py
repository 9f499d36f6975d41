"""What `mosquitto_sub -t 'detector/#' -v` shows of a scene is what the documentation promises."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import jsonschema
import numpy as np
import pytest

from tests.broker import Broker, broker
from tests.bundles import LOW_HZ, tone_bundle
from tests.daemon import running as daemon
from tests.sound import SoundServer, tone

__all__ = ["broker"]

pytestmark = [pytest.mark.sound, pytest.mark.broker]

DOCS = Path(__file__).parent.parent / "docs"
NODE = "detector/attic"
HALL = f"{NODE}/hall"
TABLE = re.compile(r"^\| `(\{prefix\}[^`]+)` \| (yes|no) \| (.+) \|$", re.MULTILINE)
PATIENCE_S = 30.0


class Promise(NamedTuple):
    """A line of the table in docs/mqtt.md."""

    topic: str
    retained: bool
    payload: str

    def matches(self, topic: str) -> bool:
        return bool(re.fullmatch(re.sub(r"\{\w+\}", "[a-z0-9_]+", self.topic), topic))

    def check(self, text: str) -> None:
        """Raise if `text` is not such a payload."""
        if self.payload.startswith("`"):
            assert text in re.findall(r"`(\w+)`", self.payload)
        elif self.payload == "a number":
            assert re.fullmatch(r"-?\d+\.\d", text)
        elif self.payload == "scores":
            scores = json.loads(text)
            assert scores
            assert all(0 <= score <= 1 for score in scores.values())
        elif self.payload == "a command":
            assert isinstance(json.loads(text), dict)
        else:
            schema = json.loads((DOCS / "events.schema.json").read_text(encoding="utf-8"))
            only = {"$ref": f"#/$defs/{self.payload}", "$defs": schema["$defs"]}
            jsonschema.validate(json.loads(text), only, format_checker=jsonschema.FormatChecker())


def promises() -> list[Promise]:
    text = (DOCS / "mqtt.md").read_text(encoding="utf-8")
    return [
        Promise(
            topic.replace("{prefix}", "detector").replace("{node}", "attic"), kept == "yes", what
        )
        for topic, kept, what in TABLE.findall(text)
    ]


def kept_promise(topic: str, payload: str) -> Promise:
    """The one of the documentation that a message keeps; no other would do."""
    [promise] = [p for p in promises() if p.matches(topic)]
    try:
        promise.check(payload)
    except (AssertionError, ValueError, jsonschema.ValidationError) as error:
        raise AssertionError(f"{topic} {payload}: not {promise.payload}: {error}") from error
    return promise


class Shown:
    """The lines that a `mosquitto_sub` has written so far."""

    def __init__(self, output: IO[str]) -> None:
        self._path = Path(output.name)

    @property
    def lines(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines()

    @property
    def topics(self) -> set[str]:
        return {line.split(" ")[0] for line in self.lines}

    def on(self, topic: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.lines if line.split(" ")[0] == topic]

    async def until(self, enough: Callable[["Shown"], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not enough(self):
            assert time.monotonic() < deadline, "\n".join(self.lines[-20:])
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def mosquitto_sub(broker: Broker, *options: str) -> Iterator[Shown]:
    """The program, subscribed to all that the detector says."""
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed (mosquitto-clients)")
    command = ["mosquitto_sub", "-p", f"{broker.port}", "-t", "detector/#", *options]
    before = subscriptions(broker)
    with (
        tempfile.NamedTemporaryFile("w+", dir=broker.folder) as output,
        subprocess.Popen(command, stdout=output) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE_S
            while subscriptions(broker) == before:
                assert time.monotonic() < deadline, "\n".join(broker.log)
                time.sleep(0.02)
            yield Shown(output)
        finally:
            process.terminate()


def subscriptions(broker: Broker) -> int:
    return sum("\tdetector/# (QoS 0)" in line for line in broker.log)


def tell(broker: Broker, command: str, payload: str) -> None:
    subprocess.run(
        ["mosquitto_pub", "-p", f"{broker.port}", "-t", f"{NODE}/command/{command}", "-m", payload],
        check=True, timeout=20,
    )  # fmt: skip


def test_mosquitto_sub_shows_exactly_what_is_documented(
    sound_server: SoundServer, broker: Broker, tmp_path: Path
) -> None:
    tone_bundle(tmp_path / "tones", window_s=1.28, hop_s=0.25)
    config = tmp_path / "config.toml"
    config.write_text(
        f'node = "attic"\n[mqtt]\nport = {broker.port}\n'
        "commands = true\nscores = true\nlevel_interval_s = 1\nlevel_a = true\n"
        '[models.tones]\nbundle = "./tones"\n[[sources]]\nname = "hall"\ndevice = "hall"\n'
    )

    async def listening(shown: Shown) -> None:
        await shown.until(lambda s: s.on(f"{HALL}/status")[-1:] == ["listening"])

    async def hear(shown: Shown) -> None:
        """A tone, a mute, a microphone that is pulled out and comes back, and a stop."""
        async with daemon(config) as running:
            await listening(shown)
            sound = np.concatenate((tone(LOW_HZ, 2), np.zeros(32_000, np.float32)))
            await asyncio.to_thread(sound_server.play_samples, sound, 16_000)
            await shown.until(lambda s: s.on(f"{HALL}/state/low") == ["OFF", "ON", "OFF"])
            tell(broker, "mute", '{"source": "hall"}')
            await shown.until(lambda s: s.on(f"{HALL}/muted")[-1:] == ["ON"])
            tell(broker, "unmute", "{}")
            sound_server.unload_sink()
            await shown.until(lambda s: s.on(f"{HALL}/status")[-1:] == ["offline"])
            sound_server.load_sink()
            await listening(shown)
            await shown.until(lambda s: s.on(f"{HALL}/gaps"))
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
        await shown.until(lambda s: s.on(f"{NODE}/status") == ["online", "offline"])

    with mosquitto_sub(broker, "-v") as shown:
        asyncio.run(hear(shown))
        found = {kept_promise(*line.split(" ", 1)) for line in shown.lines}
        kept = {topic for topic in shown.topics if kept_promise(topic, shown.on(topic)[0]).retained}
        events = [json.loads(text) for text in shown.on(f"{HALL}/events/low")]
    assert set(promises()) - found == set()
    assert [event["type"] for event in events] == ["start", "end"]
    assert {event["label"] for event in events} == {"low"}
    with mosquitto_sub(broker, "-F", "%r %t %p") as late:
        asyncio.run(late.until(lambda s: len(s.lines) >= len(kept)))
        lines = [line.split(" ", 2) for line in late.lines]
    assert {retain for retain, _, _ in lines} == {"1"}
    assert {topic for _, topic, _ in lines} == kept
    assert {kept_promise(topic, payload) for _, topic, payload in lines} == {
        promise for promise in promises() if promise.retained
    }
