"""Commands by MQTT: what may be asked, checked before anything is done, and answered in any case.

Each is a JSON object on `{prefix}/{node}/command/{name}`. The answer goes to the response topic of
the request with its correlation data (MQTT 5.0, section 4.10), or to `{prefix}/{node}/response`.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Final, Protocol, Self

import structlog
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from detector.errors import DetectorError
from detector.publish import topics
from detector.publish.commands.replies import AnswerMessage, Explanation
from detector.publish.mqtt.client import MqttClient
from detector.publish.mqtt.connection import Received
from detector.settings.base import Settings
from detector.spec import Score, Slug
from detector.validation_errors import describe_errors

log = structlog.get_logger()

_LONGEST_BYTES: Final = 4096
_LONGEST_NAME: Final = 64
_WEEK_S: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What was done."""

    message: str
    restart: tuple[str, ...] = ()
    """Settings that have changed and count after a restart."""
    explanation: Explanation | None = None


class CommandHandler(Protocol):
    """Who carries commands out. Each raises DetectorError, saying why, and then does nothing."""

    def mute(self, source: str | None, duration_s: float | None) -> CommandResult: ...

    def unmute(self, source: str | None) -> CommandResult: ...

    def set_threshold(
        self, model: str | None, label: str, onset: float | None, offset: float | None
    ) -> CommandResult: ...

    def reload(self) -> CommandResult: ...

    def explain(self, source: str | None, at: datetime, within_s: float) -> CommandResult: ...


class Mute(Settings):
    source: Slug | None = None
    """All if absent."""
    duration_s: Annotated[float, Field(gt=0, le=_WEEK_S)] | None = None
    """Until it is unmuted, if absent."""
    muted: bool = True
    """False: as unmute. A switch has one topic for on and off."""

    def carry_out(self, handler: CommandHandler) -> CommandResult:
        if self.muted:
            return handler.mute(self.source, self.duration_s)
        return handler.unmute(self.source)


class Unmute(Settings):
    source: Slug | None = None

    def carry_out(self, handler: CommandHandler) -> CommandResult:
        return handler.unmute(self.source)


class Threshold(Settings):
    label: Slug
    model: Slug | None = None
    """As the configuration calls it; the one that has the label if absent."""
    onset_threshold: Score | None = None
    offset_threshold: Score | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.onset_threshold is None and self.offset_threshold is None:
            raise ValueError("give onset_threshold, offset_threshold or both")
        return self

    def carry_out(self, handler: CommandHandler) -> CommandResult:
        return handler.set_threshold(
            self.model, self.label, self.onset_threshold, self.offset_threshold
        )


class Reload(Settings):
    def carry_out(self, handler: CommandHandler) -> CommandResult:
        return handler.reload()


class Explain(Settings):
    at: AwareDatetime
    """RFC 3339, with a zone."""
    source: Slug | None = None
    """May be absent if there is only one."""
    within_s: float = Field(2.0, gt=0, le=60)
    """How far around that time to look."""

    def carry_out(self, handler: CommandHandler) -> CommandResult:
        return handler.explain(self.source, self.at, self.within_s)


Command = Mute | Unmute | Threshold | Reload | Explain

COMMANDS: Final[dict[str, type[Command]]] = {
    "mute": Mute,
    "unmute": Unmute,
    "threshold": Threshold,
    "reload": Reload,
    "explain": Explain,
}


class CommandError(DetectorError, ValueError):
    """A command that cannot be understood."""


def parse(request: Received) -> Command:
    """Understand a command; an empty payload stands for an empty object.

    Raises:
        CommandError: saying what is wrong with it.
    """
    name, payload = _name(request), request.payload
    if name not in COMMANDS:
        raise CommandError(f"there is no command {name!r}, only {', '.join(COMMANDS)}")
    if request.retained:
        raise CommandError(
            "a retained command would count again at every connection: publish it without the "
            "retain flag, and clear this one"
        )
    if len(payload) > _LONGEST_BYTES:
        raise CommandError(f"{len(payload)} bytes are too many, at most {_LONGEST_BYTES}")
    kind = COMMANDS[name]
    try:
        return kind.model_validate_json(payload or b"{}")
    except ValidationError as error:
        raise CommandError("; ".join(describe_errors(error, kind))) from None


def _name(request: Received) -> str:
    return request.topic.rpartition("/")[2][:_LONGEST_NAME]


class CommandListener:
    """Takes commands from the broker, one after the other, and answers each."""

    def __init__(self, prefix: str, node: str, mqtt: MqttClient, handler: CommandHandler) -> None:
        self._place, self._mqtt, self._handler = (prefix, node), mqtt, handler

    def start(self) -> None:
        self._mqtt.subscribe(topics.command(*self._place, "+"), self._received)

    def _received(self, request: Received) -> None:
        answer = self._answer(request)
        log.info("command", command=answer.command, ok=answer.ok, message=answer.message)
        self._mqtt.respond(
            replace(request, response_topic=self._response_topic(request)), answer.to_json()
        )

    def _answer(self, request: Received) -> AnswerMessage:
        about = {"node": self._place[1], "command": _name(request)}
        try:
            result = parse(request).carry_out(self._handler)
        except DetectorError as error:
            return AnswerMessage(ok=False, message=str(error), **about)
        except Exception:  # a fault of ours must not keep the service from listening
            log.exception("a command failed", command=about["command"])
            return AnswerMessage(
                ok=False, message="failed: the log of the daemon says how", **about
            )
        return AnswerMessage(
            ok=True,
            message=result.message,
            restart=result.restart,
            explanation=result.explanation,
            **about,
        )

    def _response_topic(self, request: Received) -> str:
        """Where the answer is asked to go, but nowhere that only the daemon is to speak."""
        own = topics.response(*self._place)
        asked = request.response_topic
        if asked is None or asked.startswith(f"{self._place[0]}/"):
            return own
        return asked
