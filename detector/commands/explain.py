"""`detector explain`: why there was an event at a time, or why there was none."""

import asyncio
import json
import os
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from detector.errors import BrokerError, ConfigError
from detector.explanations import MEANING
from detector.operate.logs import configure
from detector.publish import topics
from detector.publish.commands.replies import (
    AnswerMessage,
    Explanation,
    LabelExplanation,
    PatternExplanation,
)
from detector.publish.messages import rfc3339
from detector.publish.mqtt.connection import MqttConnection, Received
from detector.publish.mqtt.publisher import client_id
from detector.settings.config import Config
from detector.settings.load import load_config

_MINUTE_S: Final = 30.0
"""How far around the middle of a minute, if that is all that was given."""
_SECOND_S: Final = 2.0


def explain_time(path: Path | None, source: str | None, at: str, *, as_json: bool) -> None:
    """Ask the running service, by the broker.

    Raises:
        BrokerError: the broker cannot be reached, or the service does not answer.
        ConfigError: the service takes no commands, or knows nothing of that time.
    """
    config = load_config(path)
    configure(config.log)
    if not (config.mqtt.enabled and config.mqtt.commands):
        raise ConfigError("the service takes no commands: set mqtt.commands = true and restart it")
    moment, within_s = when(at, datetime.now().astimezone())
    request = {"source": source, "at": rfc3339(moment), "within_s": within_s}
    answer = asyncio.run(_ask(config, json.dumps(request)))
    if not answer.ok or answer.explanation is None:
        raise ConfigError(answer.message)
    if as_json:
        sys.stdout.write(answer.to_json() + "\n")
    else:
        _print(answer.explanation)


def when(text: str, now: datetime) -> tuple[datetime, float]:
    """The time that is meant, and how far around it: a local time of the last day, or RFC 3339.

    Raises:
        ConfigError: for anything else.
    """
    found = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d))?", text)
    try:
        if not found:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.astimezone(), _SECOND_S
        whole_minute = found[3] is None
        second = int(_MINUTE_S) if whole_minute else int(found[3])
        moment = now.replace(hour=int(found[1]), minute=int(found[2]), second=second, microsecond=0)
    except ValueError:
        raise ConfigError(
            f"--at {text}: must be a local time as 03:12 or 03:12:30, or as 2026-11-22T03:12:30Z"
        ) from None
    if moment - timedelta(seconds=_MINUTE_S * whole_minute) > now:
        moment -= timedelta(days=1)
    # Of a minute that is not over yet: what there is of it.
    return min(moment, now), _MINUTE_S if whole_minute else _SECOND_S


async def _ask(config: Config, request: str) -> AnswerMessage:
    place = config.mqtt.prefix, config.node
    mark = os.urandom(8)
    answered: asyncio.Future[AnswerMessage] = asyncio.get_running_loop().create_future()

    def received(message: Received) -> None:
        if message.correlation == mark and not answered.done():
            answered.set_result(AnswerMessage.model_validate_json(message.payload))

    name = f"{client_id(config.mqtt, config.node)}-explain-{os.getpid()}"
    async with MqttConnection(config.mqtt, name, None, received) as link:
        try:
            async with asyncio.timeout(config.mqtt.timeout_s):
                for refusal in (
                    await link.subscribe(topics.response(*place)),
                    await link.publish(
                        topics.command(*place, "explain"), request, correlation=mark
                    ),
                ):
                    if refusal is not None:
                        raise BrokerError(f"the broker does not let us ask: {refusal}")
                return await answered
        except TimeoutError:
            raise BrokerError(
                f"{config.node} does not answer: is it running, on this broker, and with "
                "mqtt.commands = true?"
            ) from None


def _print(explanation: Explanation) -> None:
    console = Console(highlight=False, soft_wrap=True)
    begin, end = (moment.astimezone() for moment in (explanation.begin, explanation.end))
    console.print(f"{explanation.source}, {begin:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S}")
    if explanation.not_heard_s:
        console.print(f"{explanation.not_heard_s:.1f} s of it were not heard", style="yellow")
    for model, seconds in explanation.not_heard_by.items():
        console.print(f"{seconds:.1f} s of it were not heard by {model}", style="yellow")
    table = Table("label", "score", "threshold", "what became of it", box=None, pad_edge=False)
    for label in explanation.labels:
        threshold = "" if label.onset_threshold is None else f"{label.onset_threshold:.2f}"
        table.add_row(label.label, f"{label.peak:.2f}", threshold, _outcome(label))
    if explanation.labels:
        console.print(table)
    else:
        console.print(f"no label stood out; the source is {explanation.status} now")
    if explanation.patterns:
        table = Table("pattern", "heard", "what became of it", box=None, pad_edge=False)
        for pattern in explanation.patterns:
            heard = [f"{count} {label}" for label, count in pattern.heard.items()]
            if pattern.level_dbfs is not None:
                heard.append(f"{pattern.level_dbfs:.1f} dBFS")
            table.add_row(pattern.pattern, ", ".join(heard), _outcome(pattern))
        console.print(table)


def _outcome(explained: LabelExplanation | PatternExplanation) -> str:
    since = f", from {explained.onset.astimezone():%H:%M:%S}" if explained.onset else ""
    until = f" to {explained.offset.astimezone():%H:%M:%S}" if explained.offset else ""
    return f"{MEANING[explained.why]}{since}{until}"
