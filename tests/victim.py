"""The program that `tests/killing.py` kills: `python -m tests.victim FOLDER PORT`.

It puts events into an outbox, a few at a time, publishes them, and says on stdout how far the disk
has them.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from detector.operate.logs import configure
from detector.publish.messages import EventMessage, segment_id
from detector.publish.mqtt.publisher import MqttPublisher
from detector.publish.outbox.durable import DurableOutbox
from detector.settings.mqtt import MqttSettings
from detector.settings.output import LogSettings
from tests.publish.helpers import NODE, NOON, event

SOURCE = "hall"


async def _be_the_victim(folder: Path, port: int) -> None:
    settings = MqttSettings(host="127.0.0.1", port=port)
    rng = random.Random()  # noqa: S311
    life = str(time.time_ns())
    async with DurableOutbox(folder, settings.queue_events, settings.queue_bytes) as outbox:
        publisher = MqttPublisher(settings, NODE, outbox)
        running = asyncio.create_task(publisher.run())
        sequence = outbox.sequence(SOURCE)
        while not running.done():
            for _ in range(rng.randint(1, 5)):
                sequence += 1
                publisher.event(_event(sequence, life))
            while outbox.unstored:  # noqa: ASYNC110 - as exactly as it can be told
                await asyncio.sleep(0.0005)
            os.write(1, f"{sequence}\n".encode())


def _event(sequence: int, life: str) -> EventMessage:
    return event(sequence, source=SOURCE, segment=segment_id(NOON, life, str(sequence)))


if __name__ == "__main__":
    configure(LogSettings(level="error"))  # to stderr: stdout is for the numbers
    asyncio.run(_be_the_victim(Path(sys.argv[1]), int(sys.argv[2])))
