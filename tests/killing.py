"""Kills a publisher again and again, and counts what arrives of what it had reported as stored."""

import asyncio
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from detector.publish.durable import DurableOutbox
from detector.publish.mqtt import MqttPublisher
from tests.broker import Broker
from tests.publish.helpers import NODE

ROOT = Path(__file__).parents[1]
SOURCE = "hall"


@dataclass(frozen=True, slots=True)
class Outcome:
    kills: int
    reported: int
    """Events that were reported as stored before a kill."""
    received: int
    """Different events that a subscriber has seen."""
    repeated: int
    """Messages that came more than once."""
    lost: int
    """Events that were reported as stored, and never came."""
    in_order: bool
    """Each came first after all that were heard before it, and no number is missing."""
    ambiguous: int
    """Sequence numbers that stand for two events."""
    damaged: int
    """Files that had to be set aside."""
    false_alarms: int
    """Events that the outbox takes for lost."""


async def kill_often(
    broker: Broker, folder: Path, times: int, rng: random.Random, longest_s: float = 0.5
) -> Outcome:
    """Let it live for up to `longest_s` after its first event, `times` times; then deliver all."""
    reported = 0
    async with broker.subscriber(f"detector/{NODE}/{SOURCE}/events/+") as seen:
        for _ in range(times):
            reported = max(
                reported, await asyncio.to_thread(_live, broker.port, folder, rng, longest_s)
            )
        settings = broker.settings()
        async with DurableOutbox(folder, settings.queue_events, settings.queue_bytes) as outbox:
            publisher = MqttPublisher(settings, NODE, outbox)
            running = asyncio.create_task(publisher.run())
            left = await publisher.drain(60)
            last = outbox.sequence(SOURCE)
            false_alarms = int(outbox.stats()["lost_events"])
            await seen.until(lambda s: s.messages and _sequence(s.messages[-1].payload) >= last)
            running.cancel()
            await asyncio.wait({running})
        messages = [json.loads(text) for text in seen.on("#")]
    first = list(dict.fromkeys(message["sequence"] for message in messages))
    ids = {(message["sequence"], message["id"]) for message in messages}
    return Outcome(
        kills=times,
        reported=reported,
        received=len(first),
        repeated=len(messages) - len(ids),
        lost=len(set(range(1, reported + 1)) - set(first)) + left,
        in_order=first == list(range(1, len(first) + 1)),
        ambiguous=len(ids) - len(first),
        damaged=len(damaged(folder)),
        false_alarms=false_alarms,
    )


def damaged(folder: Path) -> list[Path]:
    """What was set aside."""
    return list(folder.glob("outbox-*.damaged"))


def _sequence(payload: object) -> int:
    return int(json.loads(str(payload, "utf-8"))["sequence"]) if isinstance(payload, bytes) else 0


def _live(port: int, folder: Path, rng: random.Random, longest_s: float) -> int:
    """One life; the last sequence number that it reported."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.victim", str(folder), str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as victim:  # fmt: skip
        assert victim.stdout is not None
        reported = [victim.stdout.readline()]
        time.sleep(rng.uniform(0, longest_s))
        victim.kill()
        reported += victim.stdout.readlines()
    # The last line may be half a number.
    return max((int(line) for line in reported if line.endswith("\n")), default=0)
