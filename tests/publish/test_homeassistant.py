"""What Home Assistant is told; and, where one is installed, what it makes of it."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from detector.publish.homeassistant.discovery import (
    MOST_LABELS,
    HomeAssistant,
    Labels,
    components,
    device_id,
    payload,
)
from detector.records import SourceStatus
from detector.settings.homeassistant import HomeAssistantSettings
from detector.settings.mqtt import MqttSettings
from tests.broker import Broker, Subscriber
from tests.publish.helpers import NODE, event, publishing

HALL: Labels = {"hall": {"dog_bark": "Dog bark", "siren": "Siren"}}
SETTINGS = HomeAssistantSettings(enabled=True)
TOPIC = "homeassistant/device/detector_attic/config"

PYTHON = os.environ.get("HOMEASSISTANT_PYTHON")
needs_homeassistant = pytest.mark.skipif(
    PYTHON is None,
    reason="HOMEASSISTANT_PYTHON does not name a Python with homeassistant and paho-mqtt",
)


def parts(
    sources: Labels, settings: HomeAssistantSettings = SETTINGS, **mqtt: Any
) -> dict[str, dict[str, Any]]:
    return components(settings, MqttSettings(**mqtt), NODE, sources)


def test_the_message_has_what_home_assistant_asks_of_a_device() -> None:
    told = json.loads(payload(MqttSettings(), NODE, "1.0", parts(HALL), {}))
    assert told["device"]["identifiers"] == ["detector_attic"]
    assert told["origin"] == {"name": "detector", "sw_version": "1.0"}
    assert all({"platform", "unique_id"} <= part.keys() for part in told["components"].values())
    assert {part["platform"] for part in told["components"].values()} <= {
        "binary_sensor", "event", "sensor", "switch",
    }  # fmt: skip


def test_a_source_has_an_event_a_status_a_level_and_a_binary_sensor_a_label() -> None:
    assert {name: part["state_topic"] for name, part in parts(HALL).items()} == {
        "hall-sound": "detector/attic/hall/events/+",
        "hall-status": "detector/attic/hall/status",
        "hall-level": "detector/attic/hall/level",
        "hall-label-dog_bark": "detector/attic/hall/state/dog_bark",
        "hall-label-siren": "detector/attic/hall/state/siren",
    }
    assert parts(HALL)["hall-status"]["options"] == list(get_args(SourceStatus))


def test_there_is_a_switch_only_if_commands_are_obeyed_and_a_level_only_if_it_is_told() -> None:
    assert "hall-mute" not in parts(HALL)
    switch = parts(HALL, commands=True)["hall-mute"]
    assert switch["command_topic"] == "detector/attic/command/mute"
    assert json.loads(switch["payload_on"]) == {"source": "hall"}
    assert json.loads(switch["payload_off"]) == {"source": "hall", "muted": False}
    assert "hall-level" not in parts(HALL, level_interval_s=0)


def test_ids_hang_on_source_and_label_alone_and_no_two_are_equal() -> None:
    ambiguous: Labels = {"a": {"b_c": "x", "c": "y"}, "a_b": {"c": "z"}, "a_label": {"c": "x"}}
    ids = [part["unique_id"] for part in parts(ambiguous, commands=True).values()]
    assert len(set(ids)) == len(ids)
    before, after = parts(HALL), parts({"yard": {"cat": "Cat"}, "hall": {"siren": "Sirène"}})
    both = before.keys() & after.keys()
    assert "hall-label-siren" in both
    for name in both:
        for key in ("unique_id", "default_entity_id", "state_topic"):
            assert before[name][key] == after[name][key]


def test_a_prefix_with_levels_gives_an_id_that_a_topic_can_hold() -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", device_id("home/sound-1", NODE))


def test_the_labels_are_chosen_by_the_configuration_and_bounded() -> None:
    many: Labels = {"hall": {f"label_{n}": f"Label {n}" for n in range(500)}}
    assert sum("-label-" in name for name in parts(many)) == MOST_LABELS
    chosen = parts(many, HomeAssistantSettings(labels=("label_400",)))
    assert [name for name in chosen if "-label-" in name] == ["hall-label-label_400"]
    assert chosen["hall-sound"]["event_types"] == ["label_400", "other"]


@pytest.mark.broker
async def test_it_is_told_retained_again_at_a_birth_and_at_each_connection(broker: Broker) -> None:
    settings = broker.settings()
    async with broker.subscriber(TOPIC) as seen, publishing(settings) as publisher:
        HomeAssistant(SETTINGS, settings, NODE, "1.0", publisher).start(HALL)
        await seen.until(lambda s: len(s.messages) == 1)
        async with broker.subscriber(TOPIC) as late:
            await late.until(lambda s: s.messages)
            assert late.messages[0].retain
        await say(broker, "homeassistant/status", "offline")
        await say(broker, "homeassistant/status", "online")
        await seen.until(lambda s: len(s.messages) == 2)
        broker.restart()
        async with broker.subscriber(TOPIC) as after:
            await after.until(lambda s: s.messages)
        assert after.on(TOPIC)[0] == seen.on(TOPIC)[0]


async def say(broker: Broker, topic: str, text: str) -> None:
    async with broker.subscriber("nothing") as client:
        await client._client.publish(topic, text, qos=1)


@pytest.mark.broker
async def test_what_an_earlier_run_told_of_and_is_gone_is_removed(broker: Broker) -> None:
    more: Labels = {"hall": {**HALL["hall"], "cat": "Cat"}, "yard": {"dog_bark": "Dog bark"}}
    first = await told_by_a_run(broker, more)
    assert first.keys() == parts(more).keys()
    second = await told_by_a_run(broker, HALL)
    assert {name: part for name, part in second.items() if name not in parts(HALL)} == {
        name: {"platform": part["platform"]}
        for name, part in first.items()
        if name not in parts(HALL)
    }
    third = await told_by_a_run(broker, HALL)
    assert third.keys() == parts(HALL).keys()


@pytest.mark.broker
async def test_a_message_of_many_sources_is_read_back_too(broker: Broker) -> None:
    labels = {f"label_{n}": f"Label {n}" for n in range(MOST_LABELS)}
    first = await told_by_a_run(broker, {f"source_{n}": labels for n in range(16)})
    assert len(json.dumps(first)) > 200_000
    second = await told_by_a_run(broker, {"source_0": labels})
    assert second.keys() == first.keys()
    assert second["source_15-level"] == {"platform": "sensor"}


async def told_by_a_run(broker: Broker, sources: Labels) -> dict[str, dict[str, Any]]:
    """The components that the broker holds after a publisher has come and gone."""
    settings = broker.settings()
    async with publishing(settings) as publisher:
        HomeAssistant(SETTINGS, settings, NODE, "1.0", publisher).start(sources)
        async with broker.subscriber("detector/attic/done") as seen:
            publisher.retain("detector/attic/done", "x")
            await seen.until(lambda s: s.messages)
            await asyncio.sleep(0.3)  # what follows from what the broker held
    async with broker.subscriber(TOPIC) as late:
        await late.until(lambda s: s.messages)
        return dict(json.loads(late.on(TOPIC)[0])["components"])


@pytest.mark.broker
async def test_what_a_reload_takes_away_is_removed_and_may_come_back(broker: Broker) -> None:
    settings = broker.settings()
    async with broker.subscriber(TOPIC) as seen, publishing(settings) as publisher:
        discovery = HomeAssistant(SETTINGS, settings, NODE, "1.0", publisher)
        discovery.start(HALL)
        await seen.until(lambda s: len(s.messages) == 1)
        discovery.update(SETTINGS, {"hall": {"siren": "Siren"}})
        await seen.until(lambda s: len(s.messages) == 2)
        discovery.update(SETTINGS, HALL)
        await seen.until(lambda s: len(s.messages) == 3)
        first, second, third = (json.loads(text)["components"] for text in seen.on(TOPIC))
    assert second["hall-label-dog_bark"] == {"platform": "binary_sensor"}
    assert third == first


@pytest.mark.broker
async def test_whatever_else_is_on_the_topic_is_replaced(broker: Broker) -> None:
    for rubbish in ("{", "[]", "3", '{"components": 3}', '{"components": {"x": 1}}'):
        async with broker.subscriber("nothing") as other:
            await other._client.publish(TOPIC, rubbish, qos=1, retain=True)
        assert (await told_by_a_run(broker, HALL)).keys() == parts(HALL).keys()


class RealHomeAssistant:
    """The program of `homeassistant_check.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, question: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n".encode())
        return dict(json.loads(await self._process.stdout.readline()))

    async def until(self, entity: str, state: str | None) -> dict[str, Any]:
        """Wait for an entity to have a state; None is for it to be gone. Gives all."""
        async with asyncio.timeout(20):
            while True:
                states = await self.ask("states")
                if (states[entity][0] if entity in states else None) == state:
                    return states
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def home_assistant(broker: Broker) -> AsyncIterator[RealHomeAssistant]:
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), str(Path(__file__).with_name("homeassistant_check.py")), str(broker.port)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        sys.stdout.write((await process.stdout.readline()).decode())  # its version
        yield RealHomeAssistant(process)
    finally:
        process.kill()
        await process.wait()


def last_command_is(asked: dict[str, Any], seen: Subscriber) -> bool:
    text = seen.last("detector/attic/command/mute")
    return text is not None and json.loads(text) == asked


@pytest.mark.broker
@pytest.mark.slow
@needs_homeassistant
async def test_home_assistant_has_the_entities_and_they_live(broker: Broker) -> None:
    settings = broker.settings(commands=True)
    async with home_assistant(broker) as real, publishing(settings) as publisher:
        discovery = HomeAssistant(SETTINGS, settings, NODE, "1.0", publisher)
        discovery.start(HALL)
        publisher.declare("hall", list(HALL["hall"]))
        publisher.source_status("hall", "listening")
        publisher.retain("detector/attic/hall/muted", "OFF")
        states = await real.until("binary_sensor.attic_hall_dog_bark", "off")
        assert states["sensor.attic_hall_status"][0] == "listening"
        await real.until("switch.attic_hall_mute", "off")

        publisher.event(event(1))
        states = await real.until("binary_sensor.attic_hall_dog_bark", "on")
        attributes = states["event.attic_hall_sound"][1]
        assert attributes["event_type"] == "dog_bark"
        assert attributes["score"] == {"peak": 0.9, "mean": 0.8}
        began = states["event.attic_hall_sound"][0]
        publisher.event(event(2, "end", segment=event(1).id))
        states = await real.until("binary_sensor.attic_hall_dog_bark", "off")
        assert states["event.attic_hall_sound"][0] == began  # an end is no event there
        publisher.event(event(3, label="thunder"))
        async with asyncio.timeout(20):
            while attributes["event_type"] != "other":
                attributes = (await real.ask("states"))["event.attic_hall_sound"][1]
        assert attributes["label"] == "thunder"

        publisher.level("hall", 1e-4, 800)
        publisher._levels._intervals["hall"].began = -1e9
        publisher.level("hall", 1e-4, 800)
        await real.until("sensor.attic_hall_level", "-40.0")

        async with broker.subscriber("detector/attic/command/#") as commands:
            switching: dict[str, dict[str, Any]] = {"on": {}, "off": {"muted": False}}
            for action, asked in switching.items():
                await real.ask(f"turn_{action} switch.attic_hall_mute")
                await commands.until(partial(last_command_is, {"source": "hall", **asked}))

        publisher.source_status("hall", "stalled")
        await real.until("binary_sensor.attic_hall_dog_bark", "unavailable")
        states = await real.until("sensor.attic_hall_status", "stalled")
        discovery.update(SETTINGS, {"hall": {"siren": "Siren"}})
        states = await real.until("binary_sensor.attic_hall_dog_bark", None)
        assert "binary_sensor.attic_hall_siren" in states
