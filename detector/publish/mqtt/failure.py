"""What can go wrong between here and the broker, in words that say what to do."""

import socket
import ssl
from typing import Literal

from paho.mqtt.reasoncodes import ReasonCode

from detector.errors import BrokerError

Cause = Literal[
    "settings", "unknown_host", "refused", "unreachable", "tls", "timeout", "credentials",
    "protocol", "lost", "taken_over",
]  # fmt: skip


class MqttConnectionError(BrokerError):
    """A connection could not be made, or was lost. The message never holds a secret."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def not_connected(error: BaseException, broker: str) -> MqttConnectionError:
    """Why no connection came about; `broker` is `host:port`."""
    cause: Cause = "unreachable"
    match error:
        case socket.gaierror() | UnicodeError():
            cause, why = "unknown_host", "no such host: check mqtt.host and the name service"
        case ssl.SSLCertVerificationError():
            cause = "tls"
            why = (
                f"the broker's certificate is not accepted: {error.verify_message}; check that "
                "certificate, mqtt.tls.ca_file and this machine's clock"
            )
        case ssl.SSLError():
            cause = "tls"
            why = (
                f"no TLS connection ({error.reason or error}): is this the broker's TLS port, "
                "and does it speak TLS 1.2 or later?"
            )
        case ConnectionRefusedError():
            cause, why = "refused", "connection refused: is the broker running, and on this port?"
        case ConnectionResetError():
            cause = "protocol"
            why = "the broker hung up: check that mqtt.port and mqtt.tls go together"
        case TimeoutError():
            cause, why = "timeout", "no answer: check the network and mqtt.host"
        case OSError():
            why = error.strerror or str(error)
        case _:
            why = str(error)
    return MqttConnectionError(cause, f"{broker}: {why}")


def turned_away(reason: ReasonCode, broker: str, username: str | None) -> MqttConnectionError:
    """The broker answered CONNECT with a failure (MQTT 5.0, section 3.2.2.2)."""
    match reason.value:
        case 134 | 135 if username is None:
            return MqttConnectionError(
                "credentials",
                f"{broker}: {reason}: the broker wants a user name: "
                "set mqtt.username and mqtt.password_file",
            )
        case 134 | 135:
            return MqttConnectionError(
                "credentials",
                f"{broker}: {reason}: check the password of mqtt.username = {username!r}",
            )
        case 128 | 129 | 130 | 132:
            return MqttConnectionError(
                "protocol", f"{broker}: {reason}: the broker must speak MQTT 5 (or mosquitto ≥ 1.6)"
            )
        case 133:
            return MqttConnectionError("protocol", f"{broker}: {reason}: check mqtt.client_id")
        case _:
            return MqttConnectionError("protocol", f"{broker}: the broker turns us away: {reason}")


def hung_up(detail: str | None, broker: str, *, tls: bool) -> MqttConnectionError:
    """The connection broke before the broker answered CONNECT."""
    what = f"{broker}: the broker hung up before it answered" + (f" ({detail})" if detail else "")
    if tls:
        return MqttConnectionError(
            "tls", f"{what}: check mqtt.tls.certificate_file and the broker's log"
        )
    return MqttConnectionError("protocol", f"{what}: does this port want TLS (mqtt.tls)?")


def silent(broker: str, seconds: float) -> MqttConnectionError:
    return MqttConnectionError(
        "timeout", f"{broker}: the broker did not answer within {seconds:g} s"
    )


def lost(
    reason: ReasonCode | None, detail: str | None, broker: str, client_id: str
) -> MqttConnectionError:
    """An established connection ended; `reason` is what the broker said, if it said anything."""
    if reason is not None and reason.value == 142:  # noqa: PLR2004
        return MqttConnectionError(
            "taken_over",
            f"{broker}: another client connected as {client_id!r}: "
            "each daemon needs its own node name, or its own mqtt.client_id",
        )
    if reason is not None:
        why = str(reason)
    else:
        # Mosquitto 2.0.11 gives no reason when another client takes the id over.
        why = detail or f"closed by the broker: stopped, or another client took {client_id!r}"
    return MqttConnectionError("lost", f"{broker}: the connection was lost: {why}")
