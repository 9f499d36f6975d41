"""Which labels are ON now, and which of them have a state with the broker."""

import uuid
from typing import Final, Literal

from detector.publish.messages import EventMessage

State = Literal["ON", "OFF"]


class LabelStates:
    """A label is named by its topic. It is ON from the start of a segment to the end of the last.

    Labels that were declared have a state for good. Others do not: a model that spells words can
    hear any word, so theirs is to be cleared when they are over, and only so many have one.
    """

    MOST_UNDECLARED: Final = 256
    """The broker may be away, or refuse to have a state cleared."""

    def __init__(self) -> None:
        self._declared: set[str] = set()
        self._undeclared: set[str] = set()
        self._open: dict[str, set[uuid.UUID]] = {}

    def __len__(self) -> int:
        """How many labels are ON."""
        return len(self._open)

    def declare(self, topic: str) -> State:
        """Let the label have a state, whatever is heard."""
        self._declared.add(topic)
        self._undeclared.discard(topic)
        return self._state(topic)

    def is_undeclared(self, topic: str) -> bool:
        """Whether the state is to be cleared once it was OFF."""
        return topic not in self._declared

    def follow(self, topic: str, message: EventMessage) -> State | None:
        """The state after this event; None if it has none, since too many have one."""
        going_on = self._open.setdefault(topic, set())
        if message.type == "end":
            going_on.discard(message.id)
        else:
            going_on.add(message.id)
        if not going_on:
            del self._open[topic]
        if topic not in self._declared and topic not in self._undeclared:
            if not going_on or len(self._undeclared) >= self.MOST_UNDECLARED:
                return None
            self._undeclared.add(topic)
        return self._state(topic)

    def cleared(self, topic: str) -> None:
        """The label has no state any more."""
        self._declared.discard(topic)
        self._undeclared.discard(topic)

    def _state(self, topic: str) -> State:
        return "ON" if topic in self._open else "OFF"
