"""The publisher against a real broker that does all that brokers do."""

import asyncio
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from detector.publish.mqtt.publisher import MqttPublisher
from detector.settings.mqtt import MqttSettings
from tests.broker import Broker, Proxy, write_passwords
from tests.publish.helpers import (
    EVENTS,
    NODE,
    STATUS,
    Logs,
    event,
    gap,
    publish_through_a_kill,
    publishing,
    received,
    sequences,
)

pytestmark = pytest.mark.broker


async def test_events_and_gaps_arrive_in_order_with_qos_1_and_are_not_retained(
    broker: Broker,
) -> None:
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        for sequence in range(1, 101):
            publisher.event(event(sequence, label=f"label_{sequence % 7}"))
        publisher.gap(gap())
        await seen.until(lambda s: s.on("detector/attic/hall/gaps"))
        assert await publisher.drain(5) == 0
        assert [json.loads(p)["sequence"] for p in seen.on(EVENTS)] == list(range(1, 101))
        events = [m for m in seen.messages if m.topic.matches(EVENTS)]
        assert {(m.qos, m.retain) for m in events} == {(1, False)}
        assert publisher.connected
        assert publisher.queued == 0


async def test_broker_that_comes_later_gets_everything(tmp_path: Path, logs: Logs) -> None:
    with Broker(tmp_path) as broker:
        async with publishing(broker.settings()) as publisher:
            publisher.event(event(1))
            await logs.until(lambda log: len(log.at("debug")) >= 3)
            assert not publisher.connected
            assert publisher.queued == 1
            (warning,) = logs.at("warning")
            assert "refused" in warning["error"]
            broker.start()
            async with broker.subscriber() as seen:
                await seen.until(lambda s: s.last(STATUS) == "online")
                publisher.event(event(2))
                await seen.until(lambda s: 2 in sequences(s.on(EVENTS)))
            assert await publisher.drain(5) == 0


async def test_event_that_waited_ten_seconds_is_late(tmp_path: Path) -> None:
    now = 0.0
    with Broker(tmp_path) as broker:
        async with publishing(broker.settings(), clock=lambda: now) as publisher:
            publisher.event(event(1))
            now = 9.0
            publisher.event(event(2))
            now = 10.5
            broker.start()
            async with broker.subscriber(EVENTS) as seen:
                publisher.event(event(3))
                await seen.until(lambda s: s.on(EVENTS))
                await publisher.drain(5)
                late = {m["sequence"]: m["late"] for m in map(json.loads, seen.on(EVENTS))}
    # 1 and 2 may have been sent before the subscriber was there.
    assert late.items() <= {1: True, 2: False, 3: False}.items()


async def test_killed_and_restarted_broker_gets_every_event_in_order(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        broker.start()
        async with publishing(broker.settings()) as publisher:
            sent = 0
            for _ in range(3):
                sent = await publish_through_a_kill(broker, publisher, sent)
                broker.start()
            assert await publisher.drain(20) == 0
            assert publisher.dropped_events == 0
            assert publisher.rejected_events == 0
        assert received(broker) == list(range(1, sent + 1))


async def test_hanging_broker_is_given_up_in_time_and_loses_nothing(
    broker: Broker, logs: Logs
) -> None:
    async with (
        broker.subscriber(EVENTS, timeout=60) as seen,
        publishing(broker.settings(timeout_s=0.5)) as publisher,
    ):
        publisher.event(event(1))
        await seen.until(lambda s: s.on(EVENTS))
        broker.hang()
        began = time.monotonic()
        for sequence in range(2, 102):
            publisher.event(event(sequence))
        await logs.until(lambda log: log.at("warning"))
        assert 0.4 < time.monotonic() - began < 2.0
        assert "did not answer within 0.5 s" in logs.at("warning")[0]["error"]
        assert publisher.queued == 100
        await logs.until(lambda log: log.at("debug"))  # connections are not answered either
        broker.wake()
        await seen.until(lambda s: len(sequences(s.on(EVENTS))) == 101)
        assert sequences(seen.on(EVENTS)) == list(range(1, 102))
        assert await publisher.drain(5) == 0


async def test_stop_while_the_broker_hangs_takes_no_longer_than_two_seconds(
    broker: Broker,
) -> None:
    publisher = MqttPublisher(broker.settings(timeout_s=30), NODE)
    running = asyncio.create_task(publisher.run())
    async with broker.subscriber(STATUS, timeout=60) as seen:
        await seen.until(lambda s: s.last(STATUS) == "online")
        broker.hang()
        publisher.event(event(1))
        assert await publisher.drain(0.2) == 1
        running.cancel()
        await asyncio.wait({running}, timeout=2.5)
        assert running.cancelled()
        broker.wake()
        await seen.until(lambda s: s.last(STATUS) == "offline")


async def test_stop_while_connecting_to_a_broker_that_hangs_is_quick(broker: Broker) -> None:
    broker.hang()
    running = asyncio.create_task(MqttPublisher(broker.settings(timeout_s=30), NODE).run())
    await asyncio.sleep(0.3)  # long enough to wait for the broker's word
    began = time.monotonic()
    running.cancel()
    await asyncio.wait({running}, timeout=5)
    assert running.cancelled()
    assert time.monotonic() - began < 1.0


def test_stop_does_not_wait_for_a_name_server_that_keeps_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of `asyncio.run` included: it waits for the threads of the loop's pool."""
    asked, done = threading.Event(), threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        asked.set()
        done.wait(10)
        return []

    async def stop_while_asking() -> None:
        running = asyncio.create_task(
            MqttPublisher(MqttSettings(host="broker.example"), NODE).run()
        )
        await asyncio.to_thread(asked.wait, 5)
        running.cancel()
        await asyncio.wait({running})

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    began = time.monotonic()
    asyncio.run(stop_while_asking())
    assert time.monotonic() - began < 2.0
    done.set()


async def test_wrong_password_is_said_once_never_shown_and_read_anew(
    tmp_path: Path, logs: Logs, capfd: pytest.CaptureFixture[str]
) -> None:
    write_passwords(tmp_path / "passwords", {"ear": "correct-horse"})
    secret = tmp_path / "secret"
    secret.write_text("wrong-zebra\n")
    options = ("allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    with Broker(tmp_path, *options) as broker:
        broker.start()
        settings = broker.settings(username="ear", password_file=str(secret))
        async with publishing(settings) as publisher:
            await logs.until(lambda log: len(log.at("debug")) >= 3)
            (warning,) = logs.at("warning")
            assert "mqtt.username = 'ear'" in warning["error"]
            secret.write_text("correct-horse\n")
            await logs.until(lambda log: log.at("info"))
            assert publisher.connected
        shown = (
            repr(logs.entries)
            + repr(publisher)
            + repr(vars(publisher))
            + "".join(capfd.readouterr())
        )
    assert "zebra" not in shown
    assert "horse" not in shown


async def test_missing_password_file_is_named_and_may_appear_later(
    tmp_path: Path, logs: Logs
) -> None:
    write_passwords(tmp_path / "passwords", {"ear": "correct-horse"})
    secret = tmp_path / "secret"
    options = ("allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    with Broker(tmp_path, *options) as broker:
        broker.start()
        settings = broker.settings(username="ear", password_file=str(secret))
        async with publishing(settings):
            await logs.until(lambda log: log.at("warning"))
            assert f"mqtt.password_file: {secret}: No such file" in logs.at("warning")[0]["error"]
            secret.write_text("correct-horse")
            await logs.until(lambda log: log.at("info"))


async def test_denied_topic_is_an_error_and_counted_and_the_next_event_goes_on(
    tmp_path: Path, logs: Logs
) -> None:
    (tmp_path / "acl").write_text(
        "topic read #\n"
        "topic write detector/attic/status\n"
        "topic write detector/attic/hall/events/allowed\n"
        "topic write detector/attic/hall/state/allowed\n"
        "topic write detector/attic/hall/state/denied\n"
    )
    with Broker(tmp_path, "allow_anonymous true", f"acl_file {tmp_path / 'acl'}") as broker:
        broker.start()
        async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
            publisher.event(event(1, label="denied"))
            publisher.event(event(2, label="denied"))
            publisher.event(event(3, label="allowed"))
            await seen.until(lambda s: s.on(EVENTS))
            assert await publisher.drain(5) == 0
            assert sequences(seen.on(EVENTS)) == [3]
            assert publisher.rejected_events == 2
            (error,) = logs.at("error")
            assert error["topic"] == "detector/attic/hall/events/denied"
            assert error["reason"] == "Not authorized"


async def test_event_too_large_for_the_broker_is_counted_and_the_next_goes_on(
    tmp_path: Path, logs: Logs
) -> None:
    with Broker(tmp_path, "allow_anonymous true", "max_packet_size 2000") as broker:
        broker.start()
        async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
            publisher.event(event(1, name="x" * 3000))
            publisher.event(event(2))
            await seen.until(lambda s: s.on(EVENTS))
            assert await publisher.drain(5) == 0
            assert sequences(seen.on(EVENTS)) == [2]
            assert publisher.rejected_events == 1
            (error,) = logs.at("error")
            assert "the broker takes 2000" in error["reason"]


async def test_event_whose_confirmation_is_lost_is_sent_again_with_the_same_id(
    broker: Broker,
) -> None:
    topic = b"detector/attic/hall/events/dog_bark"
    first: list[bytes] = []
    lost: list[bytes] = []

    def lose_the_first(packet: bytes, from_client: bool) -> bool:  # noqa: FBT001
        if from_client and topic in packet and not first:
            after = packet.index(topic) + len(topic)
            first.append(packet[after : after + 2])  # its packet identifier
        if not from_client and packet[0] >> 4 == 4 and packet[2:4] in first and not lost:
            lost.append(packet)
            return False
        return True

    async with (
        broker.subscriber(EVENTS) as seen,
        Proxy(broker.port, lose_the_first) as proxy,
        publishing(broker.settings(port=proxy.port, timeout_s=0.3)) as publisher,
    ):
        publisher.event(event(1))
        publisher.event(event(2))
        assert await publisher.drain(10) == 0
        assert lost
        await seen.until(lambda s: len(s.on(EVENTS)) >= 3)
        ids = [json.loads(payload)["id"] for payload in seen.on(EVENTS)]
        assert ids.count(str(event(1).id)) == 2
        assert sequences(seen.on(EVENTS)) == [1, 2]


async def test_topic_that_is_none_is_refused_and_the_next_event_goes_on(
    broker: Broker, logs: Logs
) -> None:
    async with broker.subscriber() as seen, publishing(broker.settings()) as publisher:
        publisher.event(event(1, label="a+b"))
        publisher.event(event(2))
        await seen.until(lambda s: s.on(EVENTS))
        assert sequences(seen.on(EVENTS)) == [2]
        assert publisher.rejected_events == 1
        assert logs.at("error")


async def test_broker_that_takes_one_message_at_a_time_gets_all_in_order(tmp_path: Path) -> None:
    with Broker(tmp_path, "allow_anonymous true", "max_inflight_messages 1") as broker:
        broker.start()
        async with broker.subscriber(EVENTS) as seen, publishing(broker.settings()) as publisher:
            for sequence in range(1, 201):
                publisher.event(event(sequence))
            await seen.until(lambda s: len(s.on(EVENTS)) == 200)
            assert sequences(seen.on(EVENTS)) == list(range(1, 201))


async def test_full_queue_drops_the_oldest_counts_and_says_so_once(
    tmp_path: Path, logs: Logs
) -> None:
    with Broker(tmp_path) as broker:
        async with publishing(broker.settings(queue_events=5)) as publisher:
            for sequence in range(1, 13):
                publisher.event(event(sequence))
            assert publisher.queued == 5
            assert publisher.dropped_events == 7
            assert len([e for e in logs.at("warning") if "dropped_events" in e]) == 1
            broker.start()
            async with broker.subscriber(EVENTS) as seen:
                publisher.event(event(13))
                await seen.until(lambda s: 13 in sequences(s.on(EVENTS)))
                assert await publisher.drain(5) == 0
                assert set(sequences(seen.on(EVENTS))) <= {8, 9, 10, 11, 12, 13}


async def test_ten_thousand_waiting_events_drain_fast_and_in_order(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        broker.start()
        publisher = MqttPublisher(broker.settings(), NODE)
        for sequence in range(1, 10_001):
            publisher.event(event(sequence))
        async with broker.subscriber(EVENTS) as seen:
            running = asyncio.create_task(publisher.run())
            began = time.monotonic()
            assert await publisher.drain(50) == 0
            rate = 10_000 / (time.monotonic() - began)
            await seen.until(lambda s: len(s.messages) == 10_000)
            running.cancel()
            await asyncio.wait({running})
    assert sequences(seen.on(EVENTS)) == list(range(1, 10_001))
    assert rate > 300, f"{rate:.0f} events/s"


async def test_two_daemons_of_one_name_are_told_apart_in_the_log(
    broker: Broker, logs: Logs
) -> None:
    async with publishing(broker.settings()), publishing(broker.settings()):
        await logs.until(lambda log: any("another client" in e["error"] for e in log.at("warning")))
        assert any("'detector-attic'" in e["error"] for e in logs.at("warning"))
