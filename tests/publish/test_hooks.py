"""Messages that come from the broker, answers to them, and what else it is to hold."""

import asyncio
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from detector.publish.mqtt.connection import Received
from tests.broker import Broker
from tests.publish.helpers import STATUS, Logs, publishing

pytestmark = pytest.mark.broker

COMMANDS = "detector/attic/command/#"
MUTE = "detector/attic/command/mute"


async def test_messages_are_received_now_and_after_every_reconnection(broker: Broker) -> None:
    received: list[Received] = []
    arrived = asyncio.Event()

    def take(message: Received) -> None:
        received.append(message)
        arrived.set()

    async with publishing(broker.settings()) as publisher:
        publisher.subscribe(COMMANDS, take)
        for turn in (1, 2):
            async with broker.subscriber(STATUS) as seen:
                await seen.until(lambda s: s.last(STATUS) == "online")
                await seen.send(MUTE, f"{turn}")
                await asyncio.wait_for(arrived.wait(), 5)
            arrived.clear()
            broker.restart()
    assert [(m.topic, m.payload, m.retained) for m in received] == [
        (MUTE, b"1", False),
        (MUTE, b"2", False),
    ]


async def test_a_request_is_answered_where_it_asks_for_it_with_its_correlation(
    broker: Broker,
) -> None:
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        publisher.subscribe(COMMANDS, lambda request: publisher.respond(request, "done"))
        await seen.until(lambda s: s.last(STATUS) == "online")
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = "answers/7"
        properties.CorrelationData = b"\x00\x07"
        await seen.send(MUTE, "", properties=properties)
        await seen.until(lambda s: s.on("answers/7"))
        (answer,) = (m for m in seen.messages if m.topic.matches("answers/7"))
    assert (answer.payload, answer.retain) == (b"done", False)
    assert getattr(answer.properties, "CorrelationData", None) == b"\x00\x07"


async def test_a_request_without_a_response_topic_is_not_answered(broker: Broker) -> None:
    answers: list[bool] = []
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        publisher.subscribe(COMMANDS, lambda m: answers.append(publisher.respond(m, "done")))
        await seen.until(lambda s: s.last(STATUS) == "online")
        await seen.send(MUTE, "")
        publisher.retain("detector/attic/after", "x")
        await seen.until(lambda s: s.on("detector/attic/after"))
    assert answers == [False]


async def test_an_error_in_a_receiver_does_not_end_the_connection(broker: Broker) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    def fail(_: Received) -> None:
        raise LookupError

    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        publisher.subscribe(COMMANDS, fail)
        await seen.until(lambda s: s.last(STATUS) == "online")
        await seen.send(MUTE, "")
        await seen.until(lambda s: s.on(MUTE))
        publisher.retain("detector/attic/after", "x")
        await seen.until(lambda s: s.on("detector/attic/after"))
        assert seen.on(STATUS) == ["online"]
    assert len(complaints) == 1


async def test_a_retained_topic_is_told_on_each_connection_and_cleared_when_empty(
    broker: Broker,
) -> None:
    topic = "homeassistant/device/attic/config"
    async with publishing(broker.settings()) as publisher:
        publisher.retain(topic, "{}")
        for _ in range(2):
            async with broker.subscriber(topic) as seen:
                await seen.until(lambda s: s.last(topic) == "{}")
            broker.restart()
        async with broker.subscriber(topic) as seen:
            await seen.until(lambda s: s.last(topic) == "{}")
            publisher.retain(topic, "")
            await seen.until(lambda s: s.last(topic) == "")
    async with broker.subscriber() as after:
        await after.until(lambda s: s.last(STATUS) == "offline")
        assert after.on(topic) == []


async def test_a_subscription_that_is_denied_is_an_error_that_names_the_topic(
    tmp_path: Path, logs: Logs
) -> None:
    (tmp_path / "acl").write_text("topic write #\ntopic deny $share/a/b\n")
    with Broker(tmp_path, "allow_anonymous true", f"acl_file {tmp_path / 'acl'}") as broker:
        broker.start()
        async with publishing(broker.settings()) as publisher:
            publisher.subscribe("a/#/b", lambda _: None)
            await logs.until(lambda log: log.at("error"))
    assert logs.at("error")[0]["topic"] == "a/#/b"
