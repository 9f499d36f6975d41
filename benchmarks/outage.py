"""A day without a broker: 10 000 events wait on the disk, then the broker comes back.

python benchmarks/outage.py
"""

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

from report import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from detector.publish.outbox.durable import DurableOutbox
from tests.broker import Broker
from tests.publish.helpers import EVENTS, event, publishing, sequences


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def outage(broker: Broker, folder: Path, events: int) -> dict[str, float]:
    settings = broker.settings(queue_events=max(10_000, events))
    figures: dict[str, float] = {}
    async with (
        DurableOutbox(folder, settings.queue_events, settings.queue_bytes) as outbox,
        publishing(settings, outbox=outbox, longest_retry_s=1.0) as publisher,
    ):
        for sequence in range(1, events // 10):  # warm up
            publisher.event(event(sequence))
        while outbox.unstored:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        figures["before"] = resident_mb()
        for sequence in itertools.count(events // 10):
            publisher.event(event(sequence))
            if sequence == events:
                break
            if sequence % 50 == 0:
                await asyncio.sleep(0.005)
        while outbox.unstored:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        figures["waiting"] = len(outbox)
        figures["full"] = resident_mb()
        broker.start()
        while not publisher.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        began = time.monotonic()
        figures["left"] = await publisher.drain(120)
        figures["rate"] = events / (time.monotonic() - began)
        figures["after"] = resident_mb()
    broker.kill()  # and so its log is complete
    received = sum("Received PUBLISH" in line and "/events/" in line for line in broker.log)
    figures["received"] = received
    return figures


async def order(broker: Broker, folder: Path, events: int) -> bool:
    """Whether a subscriber sees each event once, in order; at leisure, since it takes memory."""
    async with DurableOutbox(folder, events, 2**28) as outbox:
        for sequence in range(1, events + 1):
            outbox.put(event(sequence), 0.0)
        broker.start()
        async with broker.subscriber(EVENTS) as seen, publishing(broker.settings(), outbox=outbox):
            await seen.until(lambda s: len(s.messages) >= events)
            return sequences(seen.on(EVENTS)) == list(range(1, events + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        figures = asyncio.run(outage(broker, Path(folder, "state"), events))
        in_order = asyncio.run(order(broker, Path(folder, "other"), events))
    report(
        "outage",
        f"python benchmarks/outage.py --events {events}",
        [
            ("events on the disk", figures["waiting"], "", ""),
            ("events that the broker received", figures["received"], "", f">= {events}"),
            ("events left", figures["left"], "", "0"),
            ("seen in order, each of them", in_order, "", "1"),
            ("delivered", figures["rate"], "events/s", ">= 500"),
            ("memory with a tenth waiting", figures["before"], "MB", ""),
            ("memory with all waiting", figures["full"], "MB", "as with a tenth, + 10"),
            ("memory once delivered", figures["after"], "MB", "as with a tenth, + 10"),
        ],
    )


if __name__ == "__main__":
    main()
