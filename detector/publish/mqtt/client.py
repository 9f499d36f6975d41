"""What others than the publisher's own messages need of the connection to the broker."""

from collections.abc import Callable
from typing import Protocol

from detector.publish.mqtt.connection import Received


class MqttClient(Protocol):
    """Holds whether connected or not; `MqttPublisher` describes each."""

    def retain(self, topic: str, payload: str, *, again: bool = False) -> None: ...

    def subscribe(self, topic: str, received: Callable[[Received], object]) -> None: ...

    def respond(self, request: Received, payload: str) -> bool: ...
