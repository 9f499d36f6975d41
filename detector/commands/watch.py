"""`detector watch`: what is published, as it arrives, of one node or of all."""

import asyncio
import os
import sys
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from detector.errors import BrokerError, ConfigError
from detector.operate.logs import configure
from detector.publish import topics
from detector.publish.event_lines import describe
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.mqtt.connection import MqttConnection, Received
from detector.publish.mqtt.publisher import client_id
from detector.settings.load import load_config


def watch_events(path: Path | None, node: str | None, *, as_json: bool) -> None:
    """Print until Ctrl-C.

    Raises:
        BrokerError: there is no connection, or it was lost.
    """
    config = load_config(path)
    configure(config.log)
    if not config.mqtt.enabled:
        raise ConfigError("mqtt.enabled = False: there is nothing to watch")
    show = _print_json if as_json else _Lines().show
    prefix, who = config.mqtt.prefix, node or "+"
    wanted = [topics.event(prefix, who, "+", "+"), topics.gaps(prefix, who, "+")]
    if not as_json:
        wanted += [topics.source_status(prefix, who, "+"), topics.node_status(prefix, who)]

    async def watch() -> None:
        name = f"{client_id(config.mqtt, config.node)}-watch-{os.getpid()}"
        async with MqttConnection(config.mqtt, name, None, show) as link:
            try:
                async with asyncio.timeout(config.mqtt.timeout_s):
                    for topic in wanted:
                        if (refusal := await link.subscribe(topic)) is not None:
                            raise BrokerError(f"the broker does not let us hear {topic}: {refusal}")
            except TimeoutError:
                raise link.silent() from None
            await asyncio.wait({link.lost})
            raise link.why_lost()

    asyncio.run(watch())


def _print_json(message: Received) -> None:
    sys.stdout.write(message.payload.decode(errors="replace") + "\n")
    sys.stdout.flush()


class _Lines:
    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, message: Received) -> None:
        """Print a message as a line; nothing for the updates of an event that goes on."""
        kind = message.topic.split("/")
        try:
            line = self._line(kind, message)
        except ValidationError:
            line = Text(f"{message.topic}: not a message of a detector of this version", "yellow")
        if line is not None:
            self._console.print(line)

    @staticmethod
    def _line(kind: list[str], message: Received) -> Text | None:
        if kind[-2] == "events":
            event = EventMessage.model_validate_json(message.payload)
            return None if event.type == "update" else describe(event)
        if kind[-1] == "gaps":
            gap = GapMessage.model_validate_json(message.payload)
            return Text.assemble(
                (f"{gap.begin:%H:%M:%S}.{gap.begin.microsecond // 1000:03d}  ", "dim"),
                f"{gap.source:<16} gap    ",
                (f"{gap.duration_s:.2f} s were not heard ({gap.reason})", "yellow"),
            )
        who = "/".join(kind[:-1])
        return Text(f"{who} is {message.payload.decode(errors='replace')}", "dim")
