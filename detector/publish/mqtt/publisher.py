"""Publishes what was heard to an MQTT 5 broker, through outages of any length."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, NoReturn, get_args

import aiomqtt
import structlog
from paho.mqtt.client import topic_matches_sub

from detector.publish import topics
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.mqtt.backoff import Backoff
from detector.publish.mqtt.connection import Link, Received
from detector.publish.mqtt.failure import Cause, LinkError
from detector.publish.mqtt.level import LevelMeter
from detector.publish.mqtt.retained import RetainedValues
from detector.publish.mqtt.sparse_log import SparseLog
from detector.publish.mqtt.states import States
from detector.publish.mqtt.suspicion import Suspicion
from detector.publish.outbox.entries import OutboxEntry
from detector.publish.outbox.memory import MemoryOutbox
from detector.publish.outbox.outbox import Outbox
from detector.publish.previous_run import end_messages
from detector.publish.publisher import Publisher
from detector.publish.stats_message import StatsMessage
from detector.records import SourceStatus
from detector.settings.mqtt import MqttSettings
from detector.stats import DeliveryStats, Stats

log = structlog.get_logger()

_LATE_S: Final = 10.0
_LONGEST_PARDON_S: Final = 3600.0
"""A retained value that was given up is tried again once a connection has lasted for so long."""
_GOODBYE_S: Final = 1.0

_TROUBLES: Final[tuple[str, ...]] = get_args(Cause)


def boottime() -> float:
    """Seconds since the machine was started, suspended or not: no step of the clock moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class MqttPublisher(Publisher):
    """Keeps a connection, and everything that has yet to be told to the broker.

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
        self._good_after_s = self._pardon_after_s = longest_retry_s
        self._sparse = SparseLog(clock)
        self._outbox: Outbox = (
            MemoryOutbox(settings.queue_events, settings.queue_bytes) if outbox is None else outbox
        )
        self._outbox.listener = self
        self._retained = RetainedValues()
        self._rejected_values = 0
        self._states = States()
        self._leaving: set[str] = set()  # topics to be cleared once their last word is confirmed
        self._levels = LevelMeter(settings.level_interval_s)
        self._subscriptions: dict[str, Callable[[Received], object]] = {}
        self._sources: set[str] = set()
        self._suspicion = Suspicion()
        self._link: Link | None = None
        self._work = asyncio.Event()
        self._empty = asyncio.Event()
        self._keep(topics.node_status(*self._place), "online")  # told first
        self.outbox_changed()

    @property
    def connected(self) -> bool:
        return self._link is not None

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
            rejected_values=self._rejected_values,
        )

    def declare(self, source: str, labels: Sequence[str]) -> None:
        """Name the labels a source may report: the state of each begins as OFF.

        A broker may still hold ON from before this process began.
        """
        for label in labels:
            topic = topics.state(*self._place, source, label)
            state = self._states.declare(topic)
            if topic not in self._retained or topic in self._leaving:
                self._keep(topic, state)

    def event(self, message: EventMessage) -> None:
        topic = topics.state(*self._place, message.source, message.label)
        state = self._states.follow(topic, message)
        if state is not None:
            self._keep(topic, state)  # due once the event is sent
            if state == "OFF" and self._states.passes(topic):
                self._leaving.add(topic)
        elif message.type != "end":
            self._sparse.say("warning", "states", "too many words at a time: some have no state",
                             most=States.PASSING, topic=topic)  # fmt: skip
        self._outbox.put(message, self._clock())
        self.outbox_changed()

    def gap(self, message: GapMessage) -> None:
        self._outbox.put(message, self._clock())
        self.outbox_changed()

    def source_status(self, source: str, status: SourceStatus) -> None:
        self._sources.add(source)
        self._tell(topics.source_status(*self._place, source), status)

    def stats(self, stats: Stats) -> None:
        told = replace(stats, delivery=stats.delivery or self.delivery())
        self._tell(topics.stats(*self._place), StatsMessage.of(told).to_json())

    def retain(self, topic: str, payload: str, *, again: bool = False) -> None:
        """Have the broker hold `payload` at `topic`: told now, and on each connection.

        An empty payload clears the topic. With `again`, subscribers are told even if the broker
        has it already. To be called for everything that is to stay before
        `run()`: what an earlier life has left with the broker and nobody names is cleared then.
        """
        self._states.declare(topic)
        if payload != self._retained.value(topic):
            self._retained.pardon(topic)
        if again:
            self._retained.forget(topic)
        self._tell(topic, payload)

    def release(self, topic: str) -> None:
        """Say the last word on a retained topic, and then clear it."""
        self._states.cleared(topic)
        self._retained.forget(topic)
        self._tell(topic, topics.last_word(topic))
        self._leaving.add(topic)

    def subscribe(self, topic: str, received: Callable[[Received], object]) -> None:
        """Have `received` called with each message on `topic`, now and on each connection.

        Wildcards are allowed. It is called in the event loop, and is to return at once.
        """
        self._subscriptions[topic] = received
        if self._link is not None:
            self._subscribe(self._link, topic)

    def respond(self, request: Received, payload: str) -> bool:
        """Answer a message where it asks to be answered; whether it did and we are connected."""
        if request.response_topic is None or self._link is None:
            return False
        topic = request.response_topic
        self._link.publish(topic, payload, correlation=request.correlation).add_done_callback(
            partial(self._response_confirmed, topic)
        )
        return True

    def heard(self, source: str, until: datetime) -> None:
        self._outbox.set_heard_until(source, until)

    def scores(self, source: str, top: Mapping[str, float]) -> None:
        """Publish the top labels of a window, if that is wanted and can be done at once."""
        if self._settings.scores and self._link is not None:
            rounded = {label: round(score, 4) for label, score in top.items()}
            self._link.publish_unconfirmed(topics.scores(*self._place, source), json.dumps(rounded))

    def level(self, source: str, power: float) -> None:
        """Publish the mean level now and then, if that is wanted and can be done at once."""
        level = self._levels.push(source, power, self._clock())
        if level is not None and self._link is not None:
            self._link.publish_unconfirmed(topics.level(*self._place, source), f"{level:.1f}")

    async def drain(self, timeout_s: float) -> int:
        """Wait until the broker has confirmed everything; how many are left when time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        return len(self._outbox)

    async def run(self) -> NoReturn:
        """Connect, publish, and connect again, until cancelled.

        On cancellation the broker is told, within about 2 s, that node and sources are offline.
        """
        self._keep(topics.node_status(*self._place), "online")
        self._part_with_what_is_gone()
        while True:
            try:
                await self._connection()
            except LinkError as error:
                self._sparse.say(
                    "warning",
                    error.cause,
                    "no connection to the MQTT broker; events are kept and sent later",
                    error=str(error),
                    queued=len(self._outbox),
                )
            await asyncio.sleep(self._backoff.next_s())

    async def _connection(self) -> None:
        """One connection, from its beginning to its loss."""
        offline = aiomqtt.Will(topics.node_status(*self._place), "offline", qos=1, retain=True)
        name = client_id(self._settings, self._place[1])
        async with Link(self._settings, name, offline, self._receive) as link:
            began = self._clock()
            self._link = link
            host, port = self._settings.address
            self._sparse.say("info", "connected", "connected to the MQTT broker",
                             host=host, port=port, queued=len(self._outbox))  # fmt: skip
            self._retained.all_due()
            self._suspicion.connected()
            link.lost.add_done_callback(lambda _: self._work.set())
            pardon = asyncio.get_running_loop().call_later(self._pardon_after_s, self._pardon)
            for topic in self._subscriptions:
                self._subscribe(link, topic)
            try:
                await self._serve(link)
            except LinkError:
                if link.lost.done():
                    self._suspect()
                raise
            except asyncio.CancelledError:
                await self._say_goodbye(link)
                raise
            finally:
                self._link = None
                pardon.cancel()
                if self._clock() - began >= self._good_after_s:
                    self._backoff.reset()
                    self._sparse.forget("connected", *_TROUBLES)

    async def _serve(self, link: Link, *, goodbye: bool = False) -> None:
        """Send whatever there is to send; with `goodbye`, only retained values, and then return."""
        while True:
            self._work.clear()
            if link.lost.done():
                raise link.why_lost()
            while link.has_room and self._send_next(link, events=not goodbye):
                pass
            if goodbye and link.quiet:
                return
            try:
                async with asyncio.timeout_at(link.deadline):
                    await self._work.wait()
            except TimeoutError:
                raise link.silent() from None

    def _send_next(self, link: Link, *, events: bool) -> bool:
        if self._suspicion.cautious and not link.quiet:
            return False
        return self._send_value(link) or (events and self._send_event(link))

    def _send_value(self, link: Link) -> bool:
        if (value := self._retained.take()) is None:
            return False
        topic, payload = value
        self._suspicion.sent(topic)
        link.publish(topic, payload, retain=True).add_done_callback(
            partial(self._retained_confirmed, topic, payload)
        )
        return True

    def _send_event(self, link: Link) -> bool:
        if (entry := self._outbox.oldest(besides=self._suspicion.in_flight)) is None:
            return False
        self._suspicion.sent(entry.ticket)
        topic = self._topic(entry)
        link.publish(topic, self._payload(entry)).add_done_callback(
            partial(self._confirmed, topic, entry)
        )
        if entry.message.label is not None:
            place = self._settings.prefix, entry.message.node
            self._retained.due(topics.state(*place, entry.message.source, entry.message.label))
        return True

    def _subscribe(self, link: Link, topic: str) -> None:
        link.subscribe(topic).add_done_callback(partial(self._subscribed, topic))

    def _subscribed(self, topic: str, confirmation: asyncio.Future[str | None]) -> None:
        if (refusal := confirmation.result()) is not None:
            self._sparse.say(
                "error", f"not subscribed {topic}", "the MQTT broker does not let us subscribe",
                topic=topic, reason=refusal,
            )  # fmt: skip
        else:
            self._sparse.forget(f"not subscribed {topic}")
        self._work.set()

    def _receive(self, message: Received) -> None:
        for topic, received in self._subscriptions.items():
            if topic_matches_sub(topic, message.topic):
                received(message)

    def _response_confirmed(self, topic: str, confirmation: asyncio.Future[str | None]) -> None:
        if (refusal := confirmation.result()) is not None:
            # The topic is whatever was asked for: no key of its own in a log that remembers.
            self._sparse.say(
                "warning", "response", "the MQTT broker refuses a response",
                topic=topic, reason=refusal,
            )  # fmt: skip
        self._work.set()

    def _confirmed(
        self, topic: str, entry: OutboxEntry, confirmation: asyncio.Future[str | None]
    ) -> None:
        self._suspicion.settled(entry.ticket)
        if (refusal := confirmation.result()) is not None:
            self._reject(entry, topic, refusal)
        else:
            self._sparse.forget(f"refused {topic}")
            self._outbox.remove(entry.ticket)
        self._settled()

    def _retained_confirmed(
        self, topic: str, payload: str, confirmation: asyncio.Future[str | None]
    ) -> None:
        refusal = confirmation.result()
        self._suspicion.settled(topic, refused=refusal is not None)
        if refusal is not None:
            self._reject_value("refused", topic, refusal)
            self._retained.forget(topic)  # if it is set again, it is tried again
        else:
            self._sparse.forget(f"refused {topic}", f"given up {topic}")
            if topic in self._leaving and payload and self._retained.value(topic) == payload:
                self._retained.set(topic, "")
                self._retained.due(topic)
            elif not payload and self._retained.drop_if(topic, ""):
                self._leaving.discard(topic)
                self._states.cleared(topic)
                self._outbox.discard_retained_topic(topic)
        if not (self._suspicion.in_flight or self._retained.any_due or len(self._outbox)):
            self._suspicion.cleared()
            if not self._retained.any_given_up:
                self._pardon_after_s = self._good_after_s
        self._work.set()

    def _reject_value(self, what: str, topic: str, reason: str) -> None:
        self._rejected_values += 1
        self._sparse.say(
            "error", f"{what} {topic}", "the MQTT broker refuses a retained value",
            topic=topic, reason=reason, rejected_values=self._rejected_values,
        )  # fmt: skip

    def _reject(self, entry: OutboxEntry, topic: str, refusal: str) -> None:
        self._outbox.reject(entry, topic, refusal)
        self._sparse.say(
            "error", f"refused {topic}", "the MQTT broker refuses an event: it is a dead letter",
            topic=topic, reason=refusal, rejected_events=self._outbox.rejected,
        )  # fmt: skip

    def _suspect(self) -> None:
        """A message on which the broker hangs up, time and again, must not block the others."""
        poison = self._suspicion.lost()
        why = f"the broker hung up on it {self._suspicion.POISON_AFTER} times"
        if isinstance(poison, str):
            self._retained.give_up(poison)
            self._pardon_after_s = min(2 * self._pardon_after_s, _LONGEST_PARDON_S)
            self._reject_value("given up", poison, f"{why}: it is not sent for now")
        elif poison is not None:
            oldest = self._outbox.oldest()
            if oldest is not None and oldest.ticket == poison:
                self._reject(oldest, self._topic(oldest), why)
                self._settled()

    def _pardon(self) -> None:
        """The trouble may have been the broker's: what was given up for it is tried again."""
        self._retained.pardon()
        self._work.set()

    def _part_with_what_is_gone(self) -> None:
        """Take back what an earlier life has left with the broker and this one does not have.

        A label, source or node that is no longer in the configuration would be ON for ever.
        """
        stays = topics.stats(*self._place)
        for topic in sorted(set(self._outbox.retained_topics) - {stays}):
            if topic not in self._retained:
                self._tell(topic, topics.last_word(topic))
                self._leaving.add(topic)

    async def _say_goodbye(self, link: Link) -> None:
        """Within a second. In a task of its own, since this one is being cancelled."""
        for source in self._sources:
            self._tell(topics.source_status(*self._place, source), "offline")
        self._tell(topics.node_status(*self._place), "offline")
        goodbye = asyncio.create_task(self._serve(link, goodbye=True), name="mqtt goodbye")
        try:
            await asyncio.wait({goodbye}, timeout=_GOODBYE_S)
        finally:
            goodbye.cancel()
        await asyncio.wait({goodbye})
        if not goodbye.cancelled() and (error := goodbye.exception()) is not None:
            log.debug("could not say goodbye to the MQTT broker", error=str(error))

    def _keep(self, topic: str, value: str) -> None:
        self._retained.set(topic, value)
        self._leaving.discard(topic)
        self._outbox.add_retained_topic(topic)

    def _tell(self, topic: str, value: str) -> None:
        self._keep(topic, value)
        self._retained.due(topic)
        self._work.set()

    def _settled(self) -> None:
        """A message does not wait any more, for better or worse."""
        oldest = self._outbox.oldest()
        if oldest is None or not self._suspicion.suspects(oldest.ticket):  # or it was dropped
            self._suspicion.cleared()
        self.outbox_changed()

    def outbox_loaded(self) -> None:
        """The disk answered late, and tells of an earlier run only now."""
        for message in end_messages(self._outbox.previous_run, self._outbox.sequence):
            self.event(message)
        self._part_with_what_is_gone()

    def outbox_changed(self) -> None:
        if len(self._outbox):
            self._empty.clear()
        else:
            self._empty.set()
            self._retained.rest_due()  # lest a state waits for an event that does not come
        self._work.set()

    def outbox_dropped(self) -> None:
        self._sparse.say(
            "warning", "full", "too many events wait for the MQTT broker; the oldest is dropped",
            queue_events=self._settings.queue_events, dropped_events=self._outbox.dropped,
        )  # fmt: skip

    def _topic(self, entry: OutboxEntry) -> str:
        message, prefix = entry.message, self._settings.prefix
        if message.label is None:
            return topics.gaps(prefix, message.node, message.source)
        return topics.event(prefix, message.node, message.source, message.label)

    def _payload(self, entry: OutboxEntry) -> str:
        late = self._clock() - entry.since > _LATE_S
        return entry.message.as_late() if late else entry.message.body


def client_id(settings: MqttSettings, node: str) -> str:
    return settings.client_id or f"{settings.prefix}-{node}"


async def probe(settings: MqttSettings, node: str) -> None:
    """Connect once and leave, without disturbing a daemon that is connected.

    Raises:
        BrokerError: the host, the port, the cause and what to do.
    """
    async with Link(settings, f"{client_id(settings, node)}-check"):
        pass
