"""The retained values of a node: what the broker should hold, and what it has yet to be sent."""


class RetainedValues:
    """Only the newest value of a topic counts, so nothing queues up while the broker is away."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._sent: dict[str, str] = {}
        self._later: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._suspended: set[str] = set()

    def __contains__(self, topic: str) -> bool:
        return topic in self._values

    @property
    def any_due(self) -> bool:
        return bool(self._due)

    @property
    def any_suspended(self) -> bool:
        return bool(self._suspended)

    def value(self, topic: str) -> str | None:
        """The newest value; None if there is none."""
        return self._values.get(topic)

    def set(self, topic: str, value: str) -> None:
        """Note a new value. It goes out when it is due, or with all others at a reconnection."""
        self._values[topic] = value
        self._later[topic] = None

    def due(self, topic: str) -> None:
        """Let the value go out now, unless the broker has it already or cannot stand it."""
        self._later.pop(topic, None)
        if topic in self._suspended or topic not in self._values:
            return
        if self._sent.get(topic) != self._values[topic]:
            self._due[topic] = None

    def rest_due(self) -> None:
        """Let all that was set go out now."""
        for topic in list(self._later):
            self.due(topic)

    def forget(self, topic: str) -> None:
        """The broker may have it, but is to be sent it again when it is due."""
        self._sent.pop(topic, None)

    def all_due(self) -> None:
        """A new connection: nothing is known of what the broker holds, so it is sent all."""
        self._sent.clear()
        self._later.clear()
        self._due = {topic: None for topic in self._values if topic not in self._suspended}

    def take(self) -> tuple[str, str] | None:
        """The next topic and value to send, in the order in which they became due."""
        if not self._due:
            return None
        topic = next(iter(self._due))
        del self._due[topic]
        self._sent[topic] = self._values[topic]
        return topic, self._values[topic]

    def drop_if(self, topic: str, value: str) -> bool:
        """Forget a topic if that is its value; whether it was."""
        if self._values.get(topic) != value:
            return False
        del self._values[topic]
        self._sent.pop(topic, None)
        self._later.pop(topic, None)
        self._due.pop(topic, None)
        return True

    def suspend(self, topic: str) -> None:
        """Keep what the topic should hold to ourselves, until it is resumed."""
        self._suspended.add(topic)
        self._due.pop(topic, None)

    def resume(self, *topics: str) -> None:
        """Let these topics, else all, be sent again."""
        for topic in topics or tuple(self._suspended):
            if topic in self._suspended:
                self._suspended.discard(topic)
                self.forget(topic)
                self.due(topic)
