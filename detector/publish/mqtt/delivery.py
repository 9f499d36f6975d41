"""What is sent to the broker, in which order, and what becomes of it.

Retained values go before events, and the state of a label after its event. What was not confirmed
when a connection is lost is sent again over the next one, unless the broker hung up on it time
and again.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from detector.publish import topics
from detector.publish.mqtt.confirmations import Confirmation
from detector.publish.mqtt.connection import MqttConnection
from detector.publish.mqtt.poison import PoisonDetector
from detector.publish.mqtt.rate_limited_log import RateLimitedLog
from detector.publish.mqtt.retained_topics import RetainedTopics
from detector.publish.outbox.entries import OutboxEntry
from detector.publish.outbox.outbox import Outbox

LATE_S: Final = 10.0
"""An event that waited for longer says that it is late."""
LONGEST_SUSPENSION_S: Final = 3600.0


class Delivery:
    """Goes on over all connections."""

    def __init__(
        self,
        prefix: str,
        outbox: Outbox,
        retained: RetainedTopics,
        work: asyncio.Event,
        limited_log: RateLimitedLog,
        clock: Callable[[], float],
        suspension_s: float,
    ) -> None:
        """A retained value that was suspended is tried again once a connection has lasted so long.

        `work` is set when there is something to send.
        """
        self._prefix, self._outbox, self._retained = prefix, outbox, retained
        self._work, self._log, self._clock = work, limited_log, clock
        self._first_suspension_s = self.suspension_s = suspension_s
        self._poison = PoisonDetector()
        self._empty = asyncio.Event()
        self.rejected_values = 0

    # -- connections -----------------------------------------------------------------------------

    def connected(self) -> None:
        """Nothing is on its way over this connection yet."""
        self._retained.values.all_due()
        self._poison.connected()

    def connection_lost(self) -> None:
        """A message on which the broker hangs up, time and again, must not block the others."""
        poison = self._poison.lost()
        why = f"the broker hung up on it {self._poison.POISON_AFTER} times"
        if isinstance(poison, str):
            self._retained.values.suspend(poison)
            self.suspension_s = min(2 * self.suspension_s, LONGEST_SUSPENSION_S)
            self._reject_value("suspended", poison, f"{why}: it is not sent for now")
        elif poison is not None:
            oldest = self._outbox.oldest()
            if oldest is not None and oldest.ticket == poison:
                self._reject(oldest, self._topic(oldest), why)
                self._settled()

    def resume_suspended(self) -> None:
        """The trouble may have been the broker's: what was suspended for it is tried again."""
        self._retained.values.resume()
        self._work.set()

    async def serve(self, connection: MqttConnection, *, goodbye: bool = False) -> None:
        """Send whatever there is to send; with `goodbye`, only retained values, and then return.

        Raises:
            MqttConnectionError: it was lost, or the broker does not answer.
        """
        while True:
            self._work.clear()
            if connection.lost.done():
                raise connection.why_lost()
            while connection.has_room and self._send_next(connection, events=not goodbye):
                pass
            if goodbye and connection.quiet:
                return
            try:
                async with asyncio.timeout_at(connection.deadline):
                    await self._work.wait()
            except TimeoutError:
                raise connection.silent() from None

    # -- the outbox ------------------------------------------------------------------------------

    def outbox_changed(self) -> None:
        if len(self._outbox):
            self._empty.clear()
        else:
            self._empty.set()
            self._retained.values.rest_due()  # lest a state waits for an event that does not come
        self._work.set()

    async def drain(self, timeout_s: float) -> int:
        """Wait until the broker has confirmed everything; how many are left when time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        return len(self._outbox)

    # -- messages --------------------------------------------------------------------------------

    def _send_next(self, connection: MqttConnection, *, events: bool) -> bool:
        if self._poison.cautious and not connection.quiet:
            return False
        return self._send_value(connection) or (events and self._send_event(connection))

    def _send_value(self, connection: MqttConnection) -> bool:
        if (due := self._retained.values.take()) is None:
            return False
        topic, value = due
        self._poison.sent(topic)
        connection.publish(topic, value, retain=True).add_done_callback(
            partial(self._value_confirmed, topic, value)
        )
        return True

    def _send_event(self, connection: MqttConnection) -> bool:
        if (entry := self._outbox.oldest(besides=self._poison.in_flight)) is None:
            return False
        self._poison.sent(entry.ticket)
        topic = self._topic(entry)
        connection.publish(topic, self._payload(entry)).add_done_callback(
            partial(self._event_confirmed, topic, entry)
        )
        message = entry.message
        if message.label is not None:
            self._retained.values.due(
                topics.state(self._prefix, message.node, message.source, message.label)
            )
        return True

    def _event_confirmed(self, topic: str, entry: OutboxEntry, confirmation: Confirmation) -> None:
        self._poison.settled(entry.ticket)
        if (refusal := confirmation.result()) is not None:
            self._reject(entry, topic, refusal)
        else:
            self._log.forget(f"refused {topic}")
            self._outbox.remove(entry.ticket)
        self._settled()

    def _value_confirmed(self, topic: str, value: str, confirmation: Confirmation) -> None:
        refusal = confirmation.result()
        self._poison.settled(topic, refused=refusal is not None)
        if refusal is not None:
            self._reject_value("refused", topic, refusal)
            self._retained.values.forget(topic)  # if it is set again, it is tried again
        else:
            self._log.forget(f"refused {topic}", f"suspended {topic}")
            self._retained.confirmed(topic, value)
        values = self._retained.values
        if not (self._poison.in_flight or values.any_due or len(self._outbox)):
            self._poison.cleared()
            if not values.any_suspended:
                self.suspension_s = self._first_suspension_s
        self._work.set()

    def _reject_value(self, what: str, topic: str, reason: str) -> None:
        self.rejected_values += 1
        self._log.say(
            "error", f"{what} {topic}", "the MQTT broker refuses a retained value",
            topic=topic, reason=reason, rejected_values=self.rejected_values,
        )  # fmt: skip

    def _reject(self, entry: OutboxEntry, topic: str, refusal: str) -> None:
        self._outbox.reject(entry, topic, refusal)
        self._log.say(
            "error", f"refused {topic}", "the MQTT broker refuses an event: it is a dead letter",
            topic=topic, reason=refusal, rejected_events=self._outbox.rejected,
        )  # fmt: skip

    def _settled(self) -> None:
        """A message does not wait any more, for better or worse."""
        oldest = self._outbox.oldest()
        if oldest is None or not self._poison.suspects(oldest.ticket):  # or it was dropped
            self._poison.cleared()
        self.outbox_changed()

    def _topic(self, entry: OutboxEntry) -> str:
        message = entry.message
        if message.label is None:
            return topics.gaps(self._prefix, message.node, message.source)
        return topics.event(self._prefix, message.node, message.source, message.label)

    def _payload(self, entry: OutboxEntry) -> str:
        late = self._clock() - entry.since > LATE_S
        return entry.message.as_late() if late else entry.message.body
