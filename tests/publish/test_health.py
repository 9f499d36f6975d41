"""How a source is, with the broker."""

import asyncio
import json

import pytest

from detector.health_report import HealthReport, Problem
from detector.records import StreamInfo
from tests.broker import Broker
from tests.publish.helpers import publishing

pytestmark = pytest.mark.broker

HEALTH, LEVEL = "detector/attic/hall/health", "detector/attic/hall/level"
SHIFTED = HealthReport(
    status="listening",
    problems=(Problem("dc_offset", "highpass_hz = 20 takes it out"),),
    level_dbfs=-41.3,
    dc_offset=0.3,
    stream=StreamInfo(rate=48_000, channels=2, codec="opus"),
)


async def test_health_stays_with_the_broker_and_the_newest_counts(broker: Broker) -> None:
    async with publishing(broker.settings()) as publisher:
        publisher.health("hall", HealthReport(status="offline"))
        publisher.health("hall", SHIFTED)
        async with broker.subscriber(HEALTH) as seen:
            await seen.until(lambda s: "dc_offset" in (s.last(HEALTH) or ""))
            told = json.loads(seen.last(HEALTH) or "")
    assert (told["node"], told["source"], told["status"]) == ("attic", "hall", "listening")
    assert told["problems"] == [{"kind": "dc_offset", "advice": "highpass_hz = 20 takes it out"}]
    assert (told["level_dbfs"], told["level_a_dbfs"], told["dc_offset"]) == (-41.3, None, 0.3)
    assert told["stream"]["codec"] == "opus"


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_a_weighted_level_is_told_beside_the_other_if_it_is_wanted(
    broker: Broker, *, wanted: bool
) -> None:
    settings = broker.settings(level_interval_s=0.01, level_a=wanted)
    async with broker.subscriber() as seen, publishing(settings) as publisher:

        async def speak() -> None:
            while True:
                publisher.level("hall", 1e-3, 800, 1e-4)
                await asyncio.sleep(0.02)

        speaking = asyncio.create_task(speak())
        await seen.until(lambda s: len(s.on(LEVEL)) > 9)
        speaking.cancel()
        assert set(seen.on(LEVEL)) == {"-30.0"}
        assert set(seen.on(f"{LEVEL}_a")) == ({"-40.0"} if wanted else set())
