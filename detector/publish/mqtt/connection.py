"""One connection to the broker: made once, and never used again after it was lost.

aiomqtt drives the socket. What it does not offer, and a publisher that must not lose or repeat
anything needs, is taken from the paho client under it, here and nowhere else:

- the reason code of a PUBACK: aiomqtt drops it, and so reports what the broker denies as sent;
- how many unconfirmed messages, and how large a packet, the broker accepts (CONNACK);
- the loss of a connection at once: aiomqtt notices it late, before CONNACK and while publishing;
- closing a connection that the broker does not answer: aiomqtt leaves its socket open;
- waiting to write only while the socket is open: aiomqtt would wait for one closed meanwhile.

A client that has lost its connection still holds unconfirmed messages and would send them again,
which is why each connection has a fresh one.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from detector.publish.mqtt import failure
from detector.publish.mqtt.confirmations import Confirmation, Confirmations
from detector.publish.mqtt.credentials import read_password, tls_context
from detector.publish.mqtt.lookup import look_up
from detector.settings.mqtt import MqttSettings

_CONNECT_TIMEOUT_S: Final = 5.0
_GOODBYE_S: Final = 0.5
_IN_FLIGHT: Final = 20
"""Unconfirmed messages at a time, unless the broker accepts fewer."""
_PUBLISH_OVERHEAD: Final = 10
"""Bytes of a PUBLISH packet besides topic and payload, at most: 5 header, 2 + 2 + 1 fields."""
_LARGEST_RECEIVED: Final = 1_048_576
"""Bytes of a packet that the broker may send us. Commands are short; what Home Assistant was told
of many sources, and is read back, is not."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the broker, on a topic that was subscribed to."""

    topic: str
    payload: bytes
    retained: bool
    """The broker had kept it from before we subscribed."""
    response_topic: str | None = None
    """Where whoever asks wants the answer (MQTT 5 request and response)."""
    correlation: bytes | None = None
    """What the answer must carry, so that it is known whose it is."""


class MqttConnection:
    """A connection, open inside `async with`.

    Leaving the block without an error says goodbye to the broker; with an error, or when the
    broker no longer answers, the connection is dropped and the broker publishes the last will.

    Raises:
        MqttConnectionError: on entering, if there is no connection.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        will: aiomqtt.Will | None = None,
        receive: Callable[[Received], object] | None = None,
    ) -> None:
        self._settings = settings
        self._receive = receive
        self._client_id = client_id
        self._will = will
        host, port = settings.address
        self._broker = f"{host}:{port}"
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[ReasonCode | None] = self._loop.create_future()
        self._turned_away: ReasonCode | None = None
        self._abandoned = False
        self._log = _LastError()
        self._unconfirmed = Confirmations(settings.timeout_s)
        self._subscribing = Confirmations(settings.timeout_s)
        self._in_flight = _IN_FLIGHT
        self._largest_packet: int | None = None
        self._paho: paho.Client

    async def __aenter__(self) -> Self:
        host, port = self._settings.address
        try:
            await look_up(host, port, self._settings.timeout_s)
        except (OSError, UnicodeError) as error:  # TimeoutError is one
            raise failure.not_connected(error, self._broker) from None
        context = await asyncio.to_thread(tls_context, self._settings)
        client = aiomqtt.Client(
            host,
            port,
            username=self._settings.username,
            password=read_password(self._settings),
            identifier=self._client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=self._will,
            timeout=self._settings.timeout_s,
            keepalive=self._settings.keepalive_s,
            transport=self._settings.transport,
            websocket_path=self._settings.websocket_path,
            clean_start=True,
            properties=_connect_properties(),
            tls_context=context,
            max_inflight_messages=_IN_FLIGHT,
            logger=self._log,
        )
        self._reach_under(client)
        try:
            await self._enter(client)
        except BaseException:
            self._drop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) or self._unconfirmed or self._lost.done():
            self._drop()
            return
        try:
            self._paho.disconnect()
            # Not asyncio.timeout: the task may have been cancelled already.
            await asyncio.wait({self._lost}, timeout=_GOODBYE_S)
        finally:
            self._drop()

    @property
    def lost(self) -> asyncio.Future[ReasonCode | None]:
        """Done when the connection has ended, whatever the reason."""
        return self._lost

    def why_lost(self) -> failure.MqttConnectionError:
        reason = self._lost.result() if self._lost.done() else None
        return failure.lost(reason, self._log.last, self._broker, self._client_id)

    def silent(self) -> failure.MqttConnectionError:
        """The error for a broker that does not confirm."""
        return failure.silent(self._broker, self._settings.timeout_s)

    @property
    def unconfirmed(self) -> int:
        """Messages that were sent and not yet confirmed."""
        return len(self._unconfirmed)

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent before an earlier one is confirmed."""
        return len(self._unconfirmed) < self._in_flight and not self._lost.done()

    @property
    def quiet(self) -> bool:
        """Whether the broker has answered all that was sent, subscriptions too."""
        return not self._unconfirmed and not self._subscribing

    @property
    def deadline(self) -> float | None:
        """When, on the loop's clock, the oldest of what was sent must have been confirmed."""
        deadlines = (self._unconfirmed.deadline, self._subscribing.deadline)
        return min((at for at in deadlines if at is not None), default=None)

    def publish(
        self,
        topic: str,
        payload: str,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
    ) -> Confirmation:
        """Send with QoS 1. The future holds None once accepted, or why the broker refused.

        It stays undone if the connection is lost first. A message that cannot be sent at all
        (too large for the broker, not a topic) is refused at once.
        """
        confirmation: Confirmation = self._loop.create_future()
        body = payload.encode()
        size = len(body) + len(topic.encode()) + _PUBLISH_OVERHEAD
        properties = None
        if correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.CorrelationData = correlation
            size += len(correlation) + _PUBLISH_OVERHEAD
        if self._largest_packet is not None and size > self._largest_packet:
            confirmation.set_result(f"{size} bytes: the broker takes {self._largest_packet}")
            return confirmation
        try:
            sent = self._paho.publish(topic, body, qos=1, retain=retain, properties=properties)
        except ValueError as error:  # a wildcard in the topic, or no topic
            confirmation.set_result(str(error))
            return confirmation
        self._unconfirmed.expect(sent.mid, confirmation)
        return confirmation

    def publish_unconfirmed(self, topic: str, payload: str) -> bool:
        """Send with QoS 0, unless earlier packets have not left yet; whether it was sent."""
        if self._lost.done() or self._paho.want_write():
            return False
        with contextlib.suppress(ValueError):
            self._paho.publish(topic, payload.encode(), qos=0)
            return True
        return False

    def subscribe(self, topic: str) -> Confirmation:
        """Have messages on `topic` (wildcards allowed) received, with QoS 1; as `publish`."""
        confirmation: Confirmation = self._loop.create_future()
        try:
            _, mid = self._paho.subscribe(topic, qos=1)
        except ValueError as error:
            confirmation.set_result(str(error))
            return confirmation
        if mid is not None:  # else the connection is lost
            self._subscribing.expect(mid, confirmation)
        return confirmation

    async def _enter(self, client: aiomqtt.Client) -> None:
        entering = self._loop.create_task(client.__aenter__(), name="mqtt connect")
        # Looked at in any case, lest asyncio complains of an error that nobody has seen.
        entering.add_done_callback(lambda task: task.cancelled() or task.exception())
        ended: set[asyncio.Future[Any]] = {entering, self._lost}
        try:
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            error = entering.exception() if entering.done() else None
        finally:
            entering.cancel()
        settings = self._settings
        if self._turned_away is not None:
            raise failure.turned_away(self._turned_away, self._broker, settings.username)
        if self._lost.done():
            raise failure.hung_up(self._log.last, self._broker, tls=settings.tls is not None)
        if error is not None and self._paho.socket() is not None:
            raise self.silent()
        if error is not None:
            # aiomqtt keeps the text of the error and, as the context, the error itself.
            raise failure.not_connected(error.__context__ or error, self._broker)

    def _reach_under(self, client: aiomqtt.Client) -> None:
        self._paho = under = client._client  # noqa: SLF001 - see the module's docstring
        under.connect_timeout = min(_CONNECT_TIMEOUT_S, self._settings.timeout_s)
        under.on_connect = partial(self._on_connect, under.on_connect)
        under.on_publish = self._on_publish
        under.on_subscribe = self._on_subscribe
        under.on_message = self._on_message
        under.on_disconnect = self._on_disconnect
        under.on_socket_open = partial(self._on_socket_open, under.on_socket_open)
        under.on_socket_register_write = self._on_socket_register_write
        # Set by aiomqtt, past paho's callbacks, when it cannot make sense of what it reads.
        client._disconnected.add_done_callback(self._on_broken)  # noqa: SLF001
        # Looked at, lest asyncio complains: aiomqtt may have been cancelled before it waits for it.
        client._connected.add_done_callback(  # noqa: SLF001
            lambda connected: connected.cancelled() or connected.exception()
        )

    def _on_connect(
        self,
        tell_aiomqtt: Any,  # noqa: ANN401
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._turned_away = reason
        self._in_flight = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
        self._largest_packet = getattr(properties, "MaximumPacketSize", None)
        tell_aiomqtt(client, userdata, flags, reason, properties)

    def _on_publish(self, _c: object, _u: object, mid: int, reason: ReasonCode, _p: object) -> None:
        self._unconfirmed.settle(mid, str(reason) if reason.is_failure else None)

    def _on_subscribe(
        self, _c: object, _u: object, mid: int, reasons: list[ReasonCode], _p: object
    ) -> None:
        refusals = [str(reason) for reason in reasons if reason.is_failure]
        self._subscribing.settle(mid, refusals[0] if refusals else None)

    def _on_message(self, _c: object, _u: object, message: paho.MQTTMessage) -> None:
        if self._receive is None:
            return
        properties = message.properties
        received = Received(
            topic=message.topic,
            payload=bytes(message.payload),
            retained=message.retain,
            response_topic=getattr(properties, "ResponseTopic", None),
            correlation=getattr(properties, "CorrelationData", None),
        )
        # Not from here: an error in it would end the connection.
        self._loop.call_soon(self._receive, received)

    def _on_disconnect(
        self, _c: object, _u: object, flags: paho.DisconnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        self._lose(reason if flags.is_disconnect_packet_from_server else None)

    def _on_socket_open(
        self,
        tell_aiomqtt: Any,  # noqa: ANN401
        client: paho.Client,
        userdata: object,
        sock: "paho.SocketLike",
    ) -> None:
        """In the thread that connects, and perhaps after the attempt was given up."""
        if self._abandoned:
            sock.close()
            raise ConnectionAbortedError
        tell_aiomqtt(client, userdata, sock)

    def _on_socket_register_write(self, _c: object, _u: object, sock: "paho.SocketLike") -> None:
        def register() -> None:
            if self._paho.socket() is sock and self._paho.want_write():
                self._loop.add_writer(sock.fileno(), self._write)

        self._loop.call_soon_threadsafe(register)  # the thread may be the one that connects

    def _write(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is of no use
            self._log.last = f"{type(error).__name__}: {error}"
            self._lose(None)

    def _on_broken(self, disconnected: "asyncio.Future[None]") -> None:
        if not disconnected.cancelled() and (error := disconnected.exception()):
            self._log.last = f"{type(error).__name__}: {error}"
        self._lose(None)

    def _lose(self, reason: ReasonCode | None) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)

    def _drop(self) -> None:
        """Close the socket without a word; paho's own reader then cleans up."""
        self._abandoned = True
        self._lose(None)
        sock = self._paho.socket()
        with contextlib.suppress(OSError):
            if isinstance(sock, socket.socket):
                sock.shutdown(socket.SHUT_RDWR)
            elif sock is not None:  # websockets: a wrapper that shows only the descriptor
                with socket.socket(fileno=os.dup(sock.fileno())) as under:
                    under.shutdown(socket.SHUT_RDWR)


def _connect_properties() -> Properties:
    """A session ends with its connection: a command that came meanwhile would be out of date.

    What is published needs no session, since the outbox remembers what was not confirmed.
    """
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0
    properties.MaximumPacketSize = _LARGEST_RECEIVED
    return properties


class _LastError(logging.Logger):
    """Keeps what paho says of the socket, for the message in which it helps; prints nothing."""

    def __init__(self) -> None:
        super().__init__("mqtt", logging.WARNING)
        self.last: str | None = None
        self.addHandler(logging.NullHandler())

    def handle(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.last = record.getMessage()
