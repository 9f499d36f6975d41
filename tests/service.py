"""The daemon hearing a recording at the pace at which it was made, and one who talks to it by a
real broker."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import jsonschema
import numpy as np
import soundfile as sf
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from detector.daemon import serve
from detector.loading import load_models
from detector.settings.load import load_config
from tests.broker import Broker, Subscriber
from tests.bundles import tone_bundle

ROOT = Path(__file__).parent.parent
NODE = "detector/attic"
HALL = f"{NODE}/hall"
DISCOVERY = "homeassistant/device/detector_attic/config"
RATE = 16_000


class Service:
    """The daemon, its configuration and somebody who sees all that it says."""

    def __init__(self, folder: Path, broker: Broker, seen: Subscriber) -> None:
        self.config, self.broker, self.seen = folder / "config.toml", broker, seen

    def edit(self, before: str, after: str) -> None:
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, after))

    async def command(self, name: str, request: Any = None) -> dict[str, Any]:
        """Send a command, and give the answer."""
        mark = str(time.monotonic_ns()).encode()
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = "answers/test", mark
        await self.seen._client.publish(
            f"{NODE}/command/{name}", json.dumps(request or {}), qos=1, properties=properties
        )

        def answers(s: Subscriber) -> list[aiomqtt.Message]:
            return [
                m
                for m in s.messages
                if m.topic.value == "answers/test"
                and getattr(m.properties, "CorrelationData", None) == mark
            ]

        await self.seen.until(answers)
        payload = answers(self.seen)[0].payload
        assert isinstance(payload, bytes)
        return dict(json.loads(payload))

    def events(self, label: str = "+") -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.seen.on(f"{HALL}/events/{label}")]

    async def until_event(self, kind: str, after: int = 0) -> dict[str, Any]:
        await self.seen.until(lambda _: any(e["type"] == kind for e in self.events()[after:]))
        return next(e for e in self.events()[after:] if e["type"] == kind)


CONFIG = """
node = "attic"
[mqtt]
host = "127.0.0.1"
port = {port}
commands = true
{more_mqtt}
[homeassistant]
enabled = true
[models.tones]
bundle = "./tones"
{model}
[[sources]]
name = "hall"
audio_file = "scene.wav"
{more}
"""


def low_tone(seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 500 * np.arange(round(seconds * RATE)) / RATE)


def now_and_then() -> np.ndarray:
    """A low tone of a second every two and a half seconds."""
    return np.tile(np.concatenate((np.zeros(RATE), low_tone(1), np.zeros(RATE // 2))), 24)


@contextlib.asynccontextmanager
async def service(
    folder: Path,
    broker: Broker,
    sound: np.ndarray,
    more: str = "",
    *,
    more_mqtt: str = "",
    model: str = "update_interval_s = 1.0",
) -> AsyncIterator[Service]:
    """The daemon, which runs until the end of the block; it is subscribed to before it starts."""
    tone_bundle(folder / "tones", window_s=0.64, hop_s=0.16)
    sf.write(folder / "scene.wav", sound, RATE)
    path = folder / "config.toml"
    path.write_text(CONFIG.format(port=broker.port, more=more, more_mqtt=more_mqtt, model=model))
    config = load_config(path)
    models = load_models(config, path)
    async with broker.subscriber() as seen:
        running = asyncio.create_task(serve(config, models, path=path))
        try:
            await seen.until(lambda s: s.last(f"{HALL}/status") == "listening")
            yield Service(folder, broker, seen)
        finally:
            running.cancel()
            await asyncio.wait({running})
            if not running.cancelled():
                running.result()


ANY = '[patterns.any]\nkind = "group"\nlabels = ["low", "high"]\n'


async def explained(
    daemon: Service, within_s: float = 3, what: str = "label"
) -> dict[str, dict[str, Any]]:
    at = (datetime.now(UTC) - timedelta(seconds=within_s)).isoformat()
    answer = await daemon.command("explain", {"at": at, "within_s": within_s})
    assert answer["ok"], answer
    jsonschema.validate(answer, schema_of("AnswerMessage"))
    return {said[what]: said for said in answer["explanation"][f"{what}s"]}


def schema_of(message: str) -> dict[str, Any]:
    schema = json.loads((ROOT / "docs" / "events.schema.json").read_text(encoding="utf-8"))
    return {"$ref": f"#/$defs/{message}", "$defs": schema["$defs"]}
