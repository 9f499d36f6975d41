"""Publishes what was heard to an MQTT 5 broker, through outages of any length."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, NoReturn, get_args

import aiomqtt
import structlog
from paho.mqtt.client import topic_matches_sub

from detector.boottime import boottime
from detector.health_report import HealthReport
from detector.publish import topics
from detector.publish.health_message import HealthMessage
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.mqtt.backoff import Backoff
from detector.publish.mqtt.confirmations import Confirmation
from detector.publish.mqtt.connection import MqttConnection, Received
from detector.publish.mqtt.delivery import Delivery
from detector.publish.mqtt.failure import Cause, MqttConnectionError
from detector.publish.mqtt.label_states import LabelStates
from detector.publish.mqtt.level import LevelMeter
from detector.publish.mqtt.rate_limited_log import RateLimitedLog
from detector.publish.mqtt.retained_topics import RetainedTopics
from detector.publish.outbox.memory import MemoryOutbox
from detector.publish.outbox.outbox import Outbox
from detector.publish.previous_run import end_messages
from detector.publish.publisher import Publisher
from detector.publish.stats_message import StatsMessage
from detector.records import SourceStatus
from detector.settings.mqtt import MqttSettings
from detector.stats import DeliveryStats, Stats

log = structlog.get_logger()

GOODBYE_S: Final = 1.0
"""How long a stop waits for the broker to confirm that everything is offline."""

_CAUSES: Final[tuple[str, ...]] = get_args(Cause)


class MqttPublisher(Publisher):
    """Keeps a connection, and everything that the broker has yet to be sent.

    `run()` is the one task that talks to the broker. All other methods only note what there is to
    say, and return at once; they are to be called in the thread of the event loop.
    """

    def __init__(
        self,
        settings: MqttSettings,
        node: str,
        outbox: Outbox | None = None,
        *,
        clock: Callable[[], float] = boottime,
        first_retry_s: float = 0.5,
        longest_retry_s: float = 30.0,
    ) -> None:
        """Keep what is not delivered in `outbox`, else in memory."""
        self._settings = settings
        self._place = settings.prefix, node
        self._clock = clock
        self._backoff = Backoff(first_retry_s, longest_retry_s)
        self._good_after_s = longest_retry_s
        self._log = RateLimitedLog(clock)
        self._outbox: Outbox = (
            MemoryOutbox(settings.queue_events, settings.queue_bytes) if outbox is None else outbox
        )
        self._work = asyncio.Event()
        self._retained = RetainedTopics(*self._place, self._outbox, self._work)
        self._delivery = Delivery(
            settings.prefix,
            self._outbox,
            self._retained,
            self._work,
            self._log,
            clock,
            suspension_s=longest_retry_s,
        )
        self._levels = LevelMeter(settings.level_interval_s)
        self._a_levels = LevelMeter(settings.level_interval_s)
        self._levels_due: dict[str, str] = {}
        self._subscriptions: dict[str, Callable[[Received], object]] = {}
        self._sources: set[str] = set()
        self._running = False
        self._connection: MqttConnection | None = None
        self._outbox.listener = self
        self._retained.set(topics.node_status(*self._place), "online")  # sent first
        self.outbox_changed()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def queued(self) -> int:
        """Events and gaps that the broker has not confirmed."""
        return len(self._outbox)

    @property
    def dropped_events(self) -> int:
        """Events and gaps lost because too many were waiting."""
        return self._outbox.dropped

    @property
    def rejected_events(self) -> int:
        """Events and gaps that the broker refused: they are lost."""
        return self._outbox.rejected

    def delivery(self) -> DeliveryStats:
        """What waits and what was lost."""
        return replace(
            self._outbox.stats(),
            connected=self.connected,
            rejected_values=self._delivery.rejected_values,
        )

    # -- what is published: `Publisher` ------------------------------------------------------------

    def declare(self, source: str, labels: Sequence[str]) -> None:
        """Name the labels a source may report: the state of each begins as OFF.

        A broker may still hold ON from before this process began.
        """
        self._retained.declare(source, labels)

    def event(self, message: EventMessage) -> None:
        if not self._retained.follow(message):
            self._log.say("warning", "states", "too many words at a time: some have no state",
                          most=LabelStates.MOST_UNDECLARED, label=message.label)  # fmt: skip
        self._outbox.put(message, self._clock())
        self.outbox_changed()

    def gap(self, message: GapMessage) -> None:
        self._outbox.put(message, self._clock())
        self.outbox_changed()

    def source_status(self, source: str, status: SourceStatus) -> None:
        self._sources.add(source)
        self._retained.publish(topics.source_status(*self._place, source), status)

    def health(self, source: str, report: HealthReport) -> None:
        message = HealthMessage.of(self._place[1], source, report)
        self._retained.publish(topics.health(*self._place, source), message.to_json())

    def stats(self, stats: Stats) -> None:
        complete = replace(stats, delivery=stats.delivery or self.delivery())
        message = StatsMessage.of(complete)
        self._retained.publish(topics.stats(*self._place), message.to_json())

    def heard(self, source: str, until: datetime) -> None:
        self._outbox.set_heard_until(source, until)

    def scores(self, source: str, top: Mapping[str, float]) -> None:
        """Publish the top labels of a window, if that is wanted and can be done at once."""
        if self._settings.scores and self._connection is not None:
            rounded = {label: round(score, 4) for label, score in top.items()}
            topic = topics.scores(*self._place, source)
            self._connection.publish_unconfirmed(topic, json.dumps(rounded))

    def level(
        self, source: str, power: float, samples: int, a_weighted: float | None = None
    ) -> None:
        """Publish the mean levels now and then, if that is wanted and there is a connection."""
        now = self._clock()
        self._note_level(topics.level, source, self._levels.push(source, power, samples, now))
        if self._settings.level_a:
            level = self._a_levels.push(source, a_weighted, samples, now)
            self._note_level(topics.level_a, source, level)
        if self._connection is None:
            self._levels_due.clear()
        for topic, text in list(self._levels_due.items()):
            if not (self._connection and self._connection.publish_unconfirmed(topic, text)):
                break  # the next time: one packet has to leave before another
            del self._levels_due[topic]

    def _note_level(
        self, topic: Callable[[str, str, str], str], source: str, level: float | None
    ) -> None:
        if level is not None:
            self._levels_due[topic(*self._place, source)] = f"{level:.1f}"

    # -- other topics: `MqttClient` ----------------------------------------------------------------

    def retain(self, topic: str, payload: str, *, again: bool = False) -> None:
        """Have the broker hold `payload` at `topic`: sent now, and on each connection.

        An empty payload clears the topic. With `again`, it is sent even if the broker has it
        already. To be called for everything that is to stay before `run()`: what an earlier run
        has left with the broker and nobody names is cleared then.
        """
        self._retained.retain(topic, payload, again=again)

    def release(self, topic: str) -> None:
        """Publish the last value of a retained topic, and then clear it."""
        self._retained.release(topic)

    def subscribe(self, topic: str, received: Callable[[Received], object]) -> None:
        """Have `received` called with each message on `topic`, now and on each connection.

        Wildcards are allowed. It is called in the event loop, and is to return at once.
        """
        self._subscriptions[topic] = received
        if self._connection is not None:
            self._subscribe(self._connection, topic)

    def respond(self, request: Received, payload: str) -> bool:
        """Answer a message where it asks to be answered; whether it did and we are connected."""
        if request.response_topic is None or self._connection is None:
            return False
        topic = request.response_topic
        self._connection.publish(topic, payload, correlation=request.correlation).add_done_callback(
            partial(self._response_confirmed, topic)
        )
        return True

    # -- what happens in the outbox: `OutboxListener` ----------------------------------------------

    def outbox_changed(self) -> None:
        self._delivery.outbox_changed()

    def outbox_dropped(self) -> None:
        self._log.say(
            "warning", "full", "too many events wait for the MQTT broker; the oldest is dropped",
            queue_events=self._settings.queue_events, dropped_events=self._outbox.dropped,
        )  # fmt: skip

    def outbox_loaded(self) -> None:
        for message in end_messages(self._outbox.previous_run, self._outbox.sequence):
            self.event(message)
        if self._running:
            self._retained.release_unknown()

    # -- connections -------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Wait until the broker has confirmed everything; how many are left when time is up."""
        return await self._delivery.drain(timeout_s)

    async def run(self) -> NoReturn:
        """Connect, publish, and connect again, until cancelled.

        On cancellation the broker is told, within about 2 s, that node and sources are offline.
        """
        self._running = True
        self._retained.set(topics.node_status(*self._place), "online")
        self._retained.release_unknown()
        while True:
            try:
                await self._connect_and_deliver()
            except MqttConnectionError as error:
                self._log.say(
                    "warning",
                    error.cause,
                    "no connection to the MQTT broker; events are kept and sent later",
                    error=str(error),
                    queued=len(self._outbox),
                )
            await asyncio.sleep(self._backoff.next_s())

    async def _connect_and_deliver(self) -> None:
        """One connection, from its beginning to its loss."""
        will = aiomqtt.Will(topics.node_status(*self._place), "offline", qos=1, retain=True)
        name = client_id(self._settings, self._place[1])
        async with MqttConnection(self._settings, name, will, self._receive) as connection:
            began = self._clock()
            self._connection = connection
            host, port = self._settings.address
            self._log.say("info", "connected", "connected to the MQTT broker",
                          host=host, port=port, queued=len(self._outbox))  # fmt: skip
            self._delivery.connected()
            connection.lost.add_done_callback(lambda _: self._work.set())
            resume = asyncio.get_running_loop().call_later(
                self._delivery.suspension_s, self._delivery.resume_suspended
            )
            for topic in self._subscriptions:
                self._subscribe(connection, topic)
            try:
                await self._delivery.serve(connection)
            except MqttConnectionError:
                if connection.lost.done():
                    self._delivery.connection_lost()
                raise
            except asyncio.CancelledError:
                await self._say_goodbye(connection)
                raise
            finally:
                self._connection = None
                resume.cancel()
                if self._clock() - began >= self._good_after_s:
                    self._backoff.reset()
                    self._log.forget("connected", *_CAUSES)

    async def _say_goodbye(self, connection: MqttConnection) -> None:
        """In a task of its own, since this one is being cancelled."""
        for source in self._sources:
            self._retained.publish(topics.source_status(*self._place, source), "offline")
        self._retained.publish(topics.node_status(*self._place), "offline")
        goodbye = asyncio.create_task(
            self._delivery.serve(connection, goodbye=True), name="mqtt goodbye"
        )
        try:
            await asyncio.wait({goodbye}, timeout=GOODBYE_S)
        finally:
            goodbye.cancel()
        await asyncio.wait({goodbye})
        if not goodbye.cancelled() and (error := goodbye.exception()) is not None:
            log.debug("could not say goodbye to the MQTT broker", error=str(error))

    # -- subscriptions -----------------------------------------------------------------------------

    def _subscribe(self, connection: MqttConnection, topic: str) -> None:
        connection.subscribe(topic).add_done_callback(partial(self._subscribed, topic))

    def _subscribed(self, topic: str, confirmation: Confirmation) -> None:
        if (refusal := confirmation.result()) is not None:
            self._log.say(
                "error", f"not subscribed {topic}", "the MQTT broker does not let us subscribe",
                topic=topic, reason=refusal,
            )  # fmt: skip
        else:
            self._log.forget(f"not subscribed {topic}")
        self._work.set()

    def _receive(self, message: Received) -> None:
        for topic, received in self._subscriptions.items():
            if topic_matches_sub(topic, message.topic):
                received(message)

    def _response_confirmed(self, topic: str, confirmation: Confirmation) -> None:
        if (refusal := confirmation.result()) is not None:
            # The topic is whatever was asked for: no key of its own in a log that remembers.
            self._log.say(
                "warning", "response", "the MQTT broker refuses a response",
                topic=topic, reason=refusal,
            )  # fmt: skip
        self._work.set()


def client_id(settings: MqttSettings, node: str) -> str:
    return settings.client_id or f"{settings.prefix}-{node}"


async def probe(settings: MqttSettings, node: str) -> None:
    """Connect once and leave, without disturbing a daemon that is connected.

    Raises:
        BrokerError: the host, the port, the cause and what to do.
    """
    async with MqttConnection(settings, f"{client_id(settings, node)}-check"):
        pass
