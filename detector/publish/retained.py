"""The retained values of a node: what the broker should hold, and what it has yet to be told."""


class RetainedValues:
    """Only the newest value of a topic counts, so nothing queues up while the broker is away."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._due: dict[str, None] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self._values

    def set(self, topic: str, value: str) -> None:
        """Note a new value. It goes out when it is due, or with all others at a reconnection."""
        self._values[topic] = value

    def due(self, topic: str) -> None:
        """Let the value go out now, unless the broker has it already."""
        if topic in self._values and self._told.get(topic) != self._values[topic]:
            self._due[topic] = None

    def forget(self, topic: str) -> None:
        """The broker may have it, but is to be told again when it is due."""
        self._told.pop(topic, None)

    def all_due(self) -> None:
        """A new connection: nothing is known of what the broker holds, so it is told all."""
        self._told.clear()
        self._due = dict.fromkeys(self._values)

    def take(self) -> tuple[str, str] | None:
        """The next topic and value to send, in the order in which they became due."""
        if not self._due:
            return None
        topic = next(iter(self._due))
        del self._due[topic]
        self._told[topic] = self._values[topic]
        return topic, self._values[topic]

    def drop_if(self, topic: str, value: str) -> bool:
        """Forget a topic if that is its value; whether it was."""
        if self._values.get(topic) != value:
            return False
        del self._values[topic]
        self._told.pop(topic, None)
        self._due.pop(topic, None)
        return True
