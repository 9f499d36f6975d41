"""What a broker holds of a node, and tells those who come later."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.publish.helpers import (
    EVENTS,
    STATUS,
    event,
    publishing,
    stats,
)

pytestmark = pytest.mark.broker


async def test_node_is_online_retained_while_it_runs_and_offline_after_a_stop(
    broker: Broker,
) -> None:
    async with broker.subscriber() as seen:
        async with publishing(broker.settings()) as publisher:
            publisher.source_status("hall", "listening")
            await seen.until(lambda s: s.last("detector/attic/hall/status") == "listening")
            async with broker.subscriber() as late:
                await late.until(lambda s: s.last(STATUS) == "online")
                assert all(m.retain for m in late.messages)
        await seen.until(lambda s: s.last(STATUS) == "offline")
        assert seen.last("detector/attic/hall/status") == "offline"
    async with broker.subscriber() as after:
        await after.until(lambda s: s.last(STATUS) == "offline")


async def test_killed_process_is_offline_by_its_last_will(broker: Broker) -> None:
    program = (
        "import asyncio, sys\n"
        "from detector.settings.mqtt import MqttSettings\n"
        "from detector.publish.mqtt.publisher import MqttPublisher\n"
        "settings = MqttSettings(host='127.0.0.1', port=int(sys.argv[1]))\n"
        "asyncio.run(MqttPublisher(settings, 'attic').run())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(broker.port), cwd=Path(__file__).parents[2]
    )
    try:
        async with broker.subscriber(STATUS) as seen:
            await seen.until(lambda s: s.last(STATUS) == "online")
            child.kill()
            await seen.until(lambda s: s.last(STATUS) == "offline")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_state_left_on_by_an_earlier_life_is_off_at_connection(broker: Broker) -> None:
    topic = "detector/attic/hall/state/dog_bark"
    async with broker.subscriber(topic) as seen:
        async with publishing(broker.settings()) as before:
            before.event(event(1, "start"))
            await seen.until(lambda s: s.last(topic) == "ON")
        async with publishing(broker.settings()) as publisher:
            publisher.declare("hall", ["dog_bark"])
            await seen.until(lambda s: s.last(topic) == "OFF")


async def test_state_is_on_while_a_segment_is_open_and_follows_the_event(broker: Broker) -> None:
    topic = "detector/attic/hall/state/dog_bark"
    first, second = event(1).id, event(2).id
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        publisher.declare("hall", ["dog_bark"])
        await seen.until(lambda s: s.last(topic) == "OFF")
        publisher.event(event(1, "start", segment=first))
        await seen.until(lambda s: s.last(topic) == "ON")
        publisher.event(event(2, "start", segment=second))
        publisher.event(event(3, "update", segment=first))
        publisher.event(event(4, "end", segment=first))
        assert await publisher.drain(5) == 0
        publisher.event(event(5, "end", segment=second))
        await seen.until(lambda s: s.last(topic) == "OFF")
        order = [
            json.loads(str(m.payload, "utf-8"))["sequence"]
            if m.topic.matches(EVENTS)
            else m.payload
            for m in seen.messages
            if m.topic.matches(EVENTS) or m.topic.matches(topic)
        ]
    assert order == [b"OFF", 1, b"ON", 2, 3, 4, 5, b"OFF"]


async def test_states_after_an_outage_are_told_once_and_are_the_newest(tmp_path: Path) -> None:
    topic = "detector/attic/hall/state/dog_bark"
    with Broker(tmp_path) as broker:
        broker.start()
        async with publishing(broker.settings()) as publisher:
            publisher.declare("hall", ["dog_bark"])
            async with broker.subscriber(STATUS) as seen:
                await seen.until(lambda s: s.last(STATUS) == "online")
            broker.kill()
            for sequence in range(1, 40, 2):
                opened = event(sequence)
                publisher.event(opened)
                publisher.event(event(sequence + 1, "end", segment=opened.id))
            broker.start()
            async with broker.subscriber(topic) as seen:
                assert await publisher.drain(5) == 0
                last = event(41)
                publisher.event(last)
                await seen.until(lambda s: s.last(topic) == "ON")
                states = seen.on(topic)
    assert states in (["OFF", "ON"], ["OFF", "OFF", "ON"])  # retained, and perhaps seen live


async def test_stats_are_retained_and_scores_are_not(broker: Broker) -> None:
    async with (
        broker.subscriber() as seen,
        publishing(broker.settings(scores=True)) as publisher,
    ):
        publisher.scores("hall", {"dog_bark": 0.5})  # not connected yet: dropped
        publisher.stats(stats(uptime_s=77))
        await seen.until(lambda s: s.on("detector/attic/stats"))
        publisher.scores("hall", {"dog_bark": 0.123456})
        await seen.until(lambda s: s.on("detector/attic/hall/scores"))
        assert seen.on("detector/attic/hall/scores") == ['{"dog_bark": 0.1235}']
        async with broker.subscriber() as after:
            await after.until(lambda s: '"uptime_s": 77' in (s.last("detector/attic/stats") or ""))
            assert after.on("detector/attic/hall/scores") == []


async def test_scores_are_not_published_unless_asked_for(broker: Broker) -> None:
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        await seen.until(lambda s: s.last(STATUS) == "online")
        publisher.scores("hall", {"dog_bark": 0.5})
        publisher.event(event(1))
        await seen.until(lambda s: s.on(EVENTS))
        assert seen.on("detector/attic/hall/scores") == []
