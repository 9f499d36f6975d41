"""LabelStates of labels that nobody declared: a model that spells words can hear any word."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from detector.publish.mqtt.label_states import LabelStates
from detector.publish.outbox.store import NAME
from tests.broker import Broker, Proxy
from tests.publish.helpers import (
    EVENTS,
    STATUS,
    Logs,
    delivering,
    event,
    publishing,
    sequences,
    stats,
)

pytestmark = pytest.mark.broker

STATES = "detector/attic/hall/state/+"


def told(folder: Path) -> set[str]:
    """Retained topics that the next life would take back, if they had gone."""
    with contextlib.closing(sqlite3.connect(folder / NAME)) as db:
        return {topic for (topic,) in db.execute("SELECT topic FROM told")}


async def test_words_leave_nothing_behind_and_declared_labels_do(
    broker: Broker, tmp_path: Path
) -> None:
    async with broker.subscriber() as seen:
        async with delivering(broker.settings(), tmp_path / "state") as publisher:
            publisher.declare("hall", ["dog_bark"])
            for word in range(100):
                said = event(2 * word + 1, label=f"word_{word}")
                publisher.event(said)
                publisher.event(event(2 * word + 2, "end", label=said.label, segment=said.id))
                if word % 25 == 24:
                    topic = f"detector/attic/hall/state/word_{word}"
                    await seen.until(lambda s: s.last(topic) == "")  # noqa: B023
            last = "detector/attic/hall/state/word_99"
            assert await publisher.drain(5) == 0
            assert len(publisher._retained._states) == 0
            assert seen.on(last) == ["OFF", ""]
        assert sequences(seen.on(EVENTS)) == list(range(1, 201))
    async with broker.subscriber() as after:
        await after.until(lambda s: s.last(STATUS) == "offline" and s.on(STATES))
        assert after.on(STATES) == ["OFF"]
    assert told(tmp_path / "state") == {STATUS, "detector/attic/hall/state/dog_bark"}


async def test_a_word_is_on_until_its_end_has_come_and_only_then_cleared(broker: Broker) -> None:
    topic = "detector/attic/hall/state/hello"
    async with broker.subscriber(topic) as seen, publishing(broker.settings()) as publisher:
        said = event(1, label="hello")
        publisher.event(said)
        await seen.until(lambda s: s.last(topic) == "ON")
        publisher.event(event(2, "end", label="hello", segment=said.id))
        await seen.until(lambda s: s.last(topic) == "")
        assert seen.on(topic) == ["ON", "OFF", ""]


@pytest.mark.parametrize("moment", [b"OFF", b""])
async def test_a_word_said_again_while_it_is_cleared_stays_on(
    broker: Broker, moment: bytes
) -> None:
    topic = "detector/attic/hall/state/hello"
    said, again = event(1, label="hello"), event(3, label="hello")

    def say_again(packet: bytes, from_client: bool) -> bool:  # noqa: FBT001
        published = from_client and packet[0] >> 4 == 3
        if published and topic.encode() in packet and packet.endswith(b"\0" + moment):
            asyncio.get_running_loop().call_soon(publisher.event, again)
        return True

    async with (
        broker.subscriber() as seen,
        Proxy(broker.port, say_again) as proxy,
        publishing(broker.settings(port=proxy.port)) as publisher,
    ):
        publisher.event(said)
        await seen.until(lambda s: s.last(topic) == "ON")
        publisher.event(event(2, "end", label="hello", segment=said.id))
        await seen.until(lambda s: 3 in sequences(s.on(EVENTS)))
        assert await publisher.drain(5) == 0
        publisher.stats(stats())
        await seen.until(lambda s: s.on("detector/attic/stats"))
        assert seen.last(topic) == "ON"


async def test_a_word_that_is_declared_while_it_is_on_keeps_its_state(broker: Broker) -> None:
    topic = "detector/attic/hall/state/hello"
    async with broker.subscriber(topic) as seen, publishing(broker.settings()) as publisher:
        said = event(1, label="hello")
        publisher.event(said)
        await seen.until(lambda s: s.last(topic) == "ON")
        publisher.declare("hall", ["hello"])
        publisher.event(event(2, "end", label="hello", segment=said.id))
        await seen.until(lambda s: s.last(topic) == "OFF")
        assert await publisher.drain(5) == 0
    async with broker.subscriber(topic) as after:
        await after.until(lambda s: s.on(topic) == ["OFF"])


async def test_words_heard_without_a_broker_have_only_so_many_states(
    tmp_path: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelStates, "MOST_UNDECLARED", 20)
    with Broker(tmp_path) as broker:
        async with delivering(broker.settings(), tmp_path / "state") as publisher:
            for word in range(40):
                said = event(2 * word + 1, label=f"word_{word}")
                publisher.event(said)
                publisher.event(event(2 * word + 2, "end", label=said.label, segment=said.id))
        assert len(told(tmp_path / "state")) == 20 + 1
        assert len([e for e in logs.at("warning") if "some have no state" in e["event"]]) == 1
        broker.start()
        async with (
            broker.subscriber() as seen,
            delivering(broker.settings(), tmp_path / "state") as publisher,
        ):
            await seen.until(lambda s: s.on(STATES).count("") == 20)
            await seen.until(lambda s: len(sequences(s.on(EVENTS))) == 80)
            assert await publisher.drain(5) == 0
    assert told(tmp_path / "state") == {STATUS}
