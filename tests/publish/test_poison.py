"""Messages on which a broker hangs up without a word: the others must get through."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes

from detector.publish.mqtt.poison import PoisonDetector
from tests.broker import Broker, Proxy
from tests.publish.helpers import EVENTS, STATUS, Logs, event, publishing, sequences

pytestmark = pytest.mark.broker

Judge = Callable[[bytes, bool], bool | None]


def hang_up_on(poison: bytes) -> Judge:
    """Some brokers say neither what they accept nor why they close the connection."""

    def judge(packet: bytes, from_client: bool) -> bool | None:  # noqa: FBT001
        return None if from_client and poison in packet else True

    return judge


async def test_event_on_which_the_broker_always_hangs_up_is_given_up(
    broker: Broker, logs: Logs
) -> None:
    async with (
        broker.subscriber(EVENTS) as seen,
        Proxy(broker.port, hang_up_on(b"poison")) as proxy,
        publishing(broker.settings(port=proxy.port)) as publisher,
    ):
        publisher.declare("hall", [f"label_{number}" for number in range(30)])
        for sequence in range(1, 41):
            publisher.event(event(sequence, name="poison" if sequence == 20 else "Dog bark"))
        await seen.until(lambda s: 40 in sequences(s.on(EVENTS)))
        assert await publisher.drain(5) == 0
        assert sequences(seen.on(EVENTS)) == [*range(1, 20), *range(21, 41)]
        assert publisher.rejected_events == 1
        (error,) = logs.at("error")
        assert "hung up on it 5 times" in error["reason"]
        assert publisher.delivery().rejected_values == 0


async def test_retained_value_on_which_the_broker_hangs_up_is_given_up_and_events_flow(
    broker: Broker, logs: Logs
) -> None:
    async with (
        broker.subscriber() as seen,
        Proxy(broker.port, hang_up_on(b"poison")) as proxy,
        publishing(broker.settings(port=proxy.port)) as publisher,
    ):
        for number in range(60):
            publisher.retain(f"x/{number}", "poison" if number == 30 else "fine")
        publisher.event(event(1))
        await seen.until(lambda s: s.on(EVENTS))
        assert await publisher.drain(5) == 0
        assert {topic for number in range(60) if seen.on(topic := f"x/{number}")} == {
            f"x/{number}" for number in range(60) if number != 30
        }
        assert publisher.connected
        assert (publisher.delivery().rejected_values, publisher.rejected_events) == (1, 0)
        (error,) = logs.at("error")
        assert error["topic"] == "x/30"
        assert "hung up on it 5 times" in error["reason"]


async def test_trouble_that_passes_keeps_no_value_from_the_broker(broker: Broker) -> None:
    lost = 0

    def judge(packet: bytes, from_client: bool) -> bool | None:  # noqa: FBT001
        nonlocal lost
        if (
            not from_client
            or packet[0] >> 4 != PacketTypes.PUBLISH
            or lost == PoisonDetector.POISON_AFTER
        ):
            return True
        lost += 1
        return None

    async with (
        broker.subscriber() as seen,
        Proxy(broker.port, judge) as proxy,
        publishing(broker.settings(port=proxy.port), longest_retry_s=0.1) as publisher,
    ):
        publisher.event(event(1))
        await seen.until(lambda s: s.on(EVENTS))
        assert publisher.delivery().rejected_values == 1, "what is always told first was blamed"
        await seen.until(lambda s: s.last(STATUS) == "online")


async def test_what_was_given_up_is_tried_again_with_a_new_value_or_when_all_is_well(
    broker: Broker,
) -> None:
    dislikes = b"poison"

    def judge(packet: bytes, from_client: bool) -> bool | None:  # noqa: FBT001
        return None if from_client and dislikes in packet else True

    async with (
        broker.subscriber() as seen,
        Proxy(broker.port, judge) as proxy,
        publishing(broker.settings(port=proxy.port), longest_retry_s=0.1) as publisher,
    ):
        publisher.retain("x/config", "poison, and much of it")
        publisher.source_status("hall", "listening")
        publisher.retain("x/status", "poison as well")
        publisher.event(event(1))
        await seen.until(lambda s: s.on(EVENTS))
        publisher.retain("x/config", "less of it")
        await seen.until(lambda s: s.on("x/config") == ["less of it"])
        assert seen.on("x/status") == []
        dislikes = b"nothing any more"
        await seen.until(lambda s: s.on("x/status") == ["poison as well"])


async def test_nothing_is_blamed_for_a_broker_that_hangs_up_on_a_subscription(
    broker: Broker, logs: Logs
) -> None:
    attempts = 0

    def judge(packet: bytes, from_client: bool) -> bool | None:  # noqa: FBT001
        nonlocal attempts
        if from_client and packet[0] >> 4 == 8:
            attempts += 1
            return None if attempts < 15 else True
        return True

    async with (
        broker.subscriber() as seen,
        Proxy(broker.port, judge) as proxy,
        publishing(
            broker.settings(port=proxy.port), first_retry_s=0.01, longest_retry_s=0.02
        ) as publisher,
    ):
        publisher.subscribe("orders", lambda _: None)
        publisher.event(event(1))
        await seen.until(lambda s: s.on(EVENTS))
        assert seen.last(STATUS) == "online"
        assert publisher.delivery().rejected_values == publisher.rejected_events == 0
    assert attempts >= 15
    assert logs.at("error") == []


async def test_refused_value_is_told_again_as_soon_as_it_is_set_again(
    tmp_path: Path, logs: Logs
) -> None:
    topic = "detector/attic/hall/status"
    acl = tmp_path / "acl"
    acl.write_text(f"topic read #\ntopic write {STATUS}\ntopic write x/#\n")
    options = ("allow_anonymous true", f"acl_file {acl}", "max_queued_messages 1000")
    with Broker(tmp_path, *options) as broker:
        broker.start()
        async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
            publisher.source_status("hall", "listening")
            await logs.until(lambda log: log.at("error"))
            assert logs.at("error")[0]["reason"] == "Not authorized"
            assert publisher.delivery().rejected_values == 1
            acl.write_text("topic readwrite #\n")
            broker.signal(signal.SIGHUP)
            publisher.retain("x/y", "z")
            await seen.until(lambda s: s.on("x/y"))
            assert seen.on(topic) == []
            publisher.source_status("hall", "listening")  # the same one
            await seen.until(lambda s: s.last(topic) == "listening")
            assert len([e for e in logs.at("info") if e["event"].startswith("connected")]) == 1


async def test_broker_that_refuses_a_value_and_then_hangs_up_gets_the_rest(
    tmp_path: Path, logs: Logs
) -> None:
    """Mosquitto 2.0.11 does, with max_queued_messages 0."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic read #\ntopic write {STATUS}\ntopic write {EVENTS}\n")
    options = ("allow_anonymous true", f"acl_file {acl}", "max_queued_messages 0")
    with Broker(tmp_path, *options) as broker:
        broker.start()
        async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
            publisher.source_status("hall", "listening")
            publisher.event(event(1))
            await seen.until(lambda s: s.on(EVENTS))
            assert await publisher.drain(5) == 0
            await logs.until(lambda log: any("hung up" in e["reason"] for e in log.at("error")))
