"""Messages to publish, a publisher that runs, and a log that can be waited for."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from detector.config import MqttSettings
from detector.publish.durable import DurableOutbox
from detector.publish.messages import EventMessage, GapMessage, ScoreSummary, segment_id
from detector.publish.mqtt import MqttPublisher
from detector.records import EventType

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


def sequences(payloads: list[str]) -> list[int]:
    """Sequence numbers in order of first arrival: QoS 1 may repeat a message."""
    return list(dict.fromkeys(json.loads(payload)["sequence"] for payload in payloads))


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
