"""Messages to publish, a publisher that runs, and a log that can be waited for."""

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from detector.publish.messages import EventMessage, GapMessage, ScoreSummary, segment_id
from detector.publish.mqtt.publisher import MqttPublisher
from detector.publish.outbox.durable import DurableOutbox
from detector.records import EventType
from detector.settings.mqtt import MqttSettings
from detector.stats import SourceStats, Stats
from tests.broker import Broker

NODE = "attic"
EVENTS = "detector/attic/hall/events/+"
STATUS = "detector/attic/status"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Logs:
    """A structlog processor that keeps the entries."""

    PATIENCE_S = 20.0

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    def __call__(self, _logger: Any, level: str, entry: MutableMapping[str, Any]) -> Any:
        self.entries.append({**entry, "level": level})
        self._more.set()
        raise structlog.DropEvent

    def at(self, level: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["level"] == level]

    async def until(self, enough: Callable[["Logs"], object]) -> None:
        async with asyncio.timeout(self.PATIENCE_S):
            while not enough(self):
                self._more.clear()
                await self._more.wait()


def event(
    sequence: int = 1,
    kind: EventType = "start",
    *,
    source: str = "hall",
    label: str = "dog_bark",
    segment: uuid.UUID | None = None,
    name: str = "Dog bark",
) -> EventMessage:
    ended = kind == "end"
    return EventMessage(
        id=segment or segment_id(NOON, source, label, str(sequence)),
        type=kind,
        node=NODE,
        source=source,
        model="sounds@1",
        label=label,
        name=name,
        onset=NOON,
        offset=NOON if ended else None,
        duration_s=0.0 if ended else None,
        score=ScoreSummary(peak=0.9, mean=0.8),
        level_dbfs=-20.0,
        sequence=sequence,
    )


def gap() -> GapMessage:
    return GapMessage(
        node=NODE, source="hall", begin=NOON, end=NOON, duration_s=0.0, reason="stall"
    )


def stats(uptime_s: int = 7) -> Stats:
    return Stats(uptime_s=uptime_s, sources={"hall": SourceStats(status="listening")})


def sequences(payloads: list[str]) -> list[int]:
    """Sequence numbers in order of first arrival: QoS 1 may repeat a message."""
    return list(dict.fromkeys(json.loads(payload)["sequence"] for payload in payloads))


async def publish_through_a_kill(broker: Broker, publisher: MqttPublisher, sent: int) -> int:
    """Publish 150 events after the first `sent`, and kill the broker in the middle of it.

    Each has a label of its own, by its number: see `received`. Returns the last number.
    """
    async with broker.subscriber(EVENTS) as seen:
        for number in range(sent + 1, sent + 101):
            publisher.event(event(number, label=f"label_{number}"))
        await seen.until(lambda s: s.on(EVENTS))
        broker.kill()
        await asyncio.wait_for(seen.gone.wait(), 5)
    for number in range(sent + 101, sent + 151):
        publisher.event(event(number, label=f"label_{number}"))
    return sent + 150


def received(broker: Broker) -> list[int]:
    """The numbers of the labels of the events that came, in order of first arrival.

    The broker logs what it receives: nobody could be subscribed at each of its beginnings. Its log
    is complete once it was killed.
    """
    broker.kill()
    found = re.findall(r"events/label_(\d+)'", "\n".join(broker.log))
    return list(dict.fromkeys(int(number) for number in found))


@contextlib.asynccontextmanager
async def publishing(settings: MqttSettings, **options: Any) -> AsyncIterator[MqttPublisher]:
    """A publisher that runs, with short pauses, until the end of the block."""
    short = {"first_retry_s": 0.05, "longest_retry_s": 0.2}
    publisher = MqttPublisher(settings, NODE, **(short | options))
    running = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        running.cancel()
        await asyncio.wait({running}, timeout=5.0)
        assert running.cancelled(), f"not stopped: {running}"


@contextlib.asynccontextmanager
async def delivering(
    settings: MqttSettings, folder: Path, **options: Any
) -> AsyncIterator[MqttPublisher]:
    """As `publishing`, with an outbox on the disk."""
    async with (
        DurableOutbox(
            folder, settings.queue_events, settings.queue_bytes, boot="this", first_retry_s=0.05
        ) as outbox,
        publishing(settings, outbox=outbox, **options) as publisher,
    ):
        yield publisher
