"""The retained topics of a node: what the broker holds there, and what it is to take back.

A topic that nobody sets any more is given a last value, lest subscribers go by what it was, and
cleared once that is confirmed. The outbox remembers the topics for the next run of the service.
"""

import asyncio
from collections.abc import Sequence

from detector.publish import topics
from detector.publish.messages import EventMessage
from detector.publish.mqtt.label_states import LabelStates
from detector.publish.mqtt.retained_values import RetainedValues
from detector.publish.outbox.outbox import Outbox


class RetainedTopics:
    """States of labels among them, which go out once their event is sent."""

    def __init__(self, prefix: str, node: str, outbox: Outbox, work: asyncio.Event) -> None:
        """`work` is set when there is something to send."""
        self._prefix, self._node = prefix, node
        self._outbox, self._work = outbox, work
        self._states = LabelStates()
        self._leaving: set[str] = set()  # topics to be cleared once their last value is confirmed
        self.values = RetainedValues()

    def set(self, topic: str, value: str) -> None:
        """Note a value, which goes out when it is due."""
        self.values.set(topic, value)
        self._leaving.discard(topic)
        self._outbox.add_retained_topic(topic)

    def publish(self, topic: str, value: str) -> None:
        """Let a value go out now."""
        self.set(topic, value)
        self.values.due(topic)
        self._work.set()

    def retain(self, topic: str, value: str, *, again: bool = False) -> None:
        """As `MqttPublisher.retain`."""
        self._states.declare(topic)
        if value != self.values.value(topic):
            self.values.resume(topic)
        if again:
            self.values.forget(topic)
        self.publish(topic, value)

    def release(self, topic: str) -> None:
        """Give a topic its last value, and then clear it."""
        self._states.cleared(topic)
        self.values.forget(topic)
        self._leave(topic)

    def release_unknown(self) -> None:
        """Take back what an earlier run has left with the broker and this one does not have.

        A label, source or node that is no longer in the configuration would be ON for ever.
        """
        stays = topics.stats(self._prefix, self._node)
        for topic in sorted(set(self._outbox.retained_topics) - {stays}):
            if topic not in self.values:
                self._leave(topic)

    def _leave(self, topic: str) -> None:
        self.publish(topic, topics.last_word(topic))
        self._leaving.add(topic)

    def declare(self, source: str, labels: Sequence[str]) -> None:
        """Let labels have a state, OFF at first."""
        for label in labels:
            topic = topics.state(self._prefix, self._node, source, label)
            state = self._states.declare(topic)
            if topic not in self.values or topic in self._leaving:
                self.set(topic, state)

    def follow(self, message: EventMessage) -> bool:
        """Set the state of a label after an event; False if too many have one."""
        topic = topics.state(self._prefix, self._node, message.source, message.label)
        state = self._states.follow(topic, message)
        if state is None:
            return message.type == "end"
        self.set(topic, state)
        if state == "OFF" and self._states.is_undeclared(topic):
            self._leaving.add(topic)
        return True

    def confirmed(self, topic: str, value: str) -> None:
        """The broker holds that value now."""
        if topic in self._leaving and value and self.values.value(topic) == value:
            self.values.set(topic, "")
            self.values.due(topic)
        elif not value and self.values.drop_if(topic, ""):
            self._leaving.discard(topic)
            self._states.cleared(topic)
            self._outbox.discard_retained_topic(topic)
