"""`detector listen`: a microphone in the terminal."""

import asyncio
import sys
from collections import deque
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from detector.capture.devices.query import match, query_devices
from detector.daemon import serve
from detector.decibels import FLOOR_DBFS, dbfs
from detector.errors import SourceError
from detector.loading import load_models
from detector.operate.logs import configure
from detector.publish.event_lines import LinesPublisher, describe
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.publisher import Publisher
from detector.records import SourceStatus
from detector.settings.config import Config
from detector.settings.load import load_config
from detector.settings.mqtt import MqttSettings
from detector.settings.output import ConsoleSettings
from detector.settings.sources import SourceSettings

_QUIET_DBFS = -80.0
_METER_WIDTH = 40
_LAST_EVENTS = 12


def listen_to(device: str, config_file: Path | None) -> None:
    """Listen until Ctrl-C.

    Raises:
        SourceError: there is no microphone.
        UnknownDeviceError: there are some, but not this one.
    """
    config = load_config(config_file)
    configure(config.log.model_copy(update={"level": "warning"}))
    devices = query_devices([device])
    if not devices:
        raise SourceError(
            "no microphone here: is one plugged in, and is it free for this user (group 'audio')?"
        )
    found = match(device, devices)
    models = load_models(config, config_file)
    live = Config(
        node=config.node,
        mqtt=MqttSettings(enabled=False),
        console=ConsoleSettings(enabled=False),
        log=config.log,
        models=config.models,
        patterns=config.patterns,
        sources=(SourceSettings(name="microphone", device=found.name),),
    )
    if not sys.stdout.isatty():
        asyncio.run(serve(live, models, [LinesPublisher()]))
        return
    view = _View(found.name)
    with Live(view, console=Console(), refresh_per_second=10):
        asyncio.run(serve(live, models, [view]))


class _View(Publisher):
    """The state of one microphone, drawn ten times a second."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._status: SourceStatus = "offline"
        self._level_dbfs = FLOOR_DBFS
        self._top: dict[str, float] = {}
        self._events: deque[Text] = deque(maxlen=_LAST_EVENTS)

    def event(self, message: EventMessage) -> None:
        if message.type != "update":
            self._events.append(describe(message))

    def gap(self, message: GapMessage) -> None:
        self._events.append(
            Text(f"{message.duration_s:.2f} s were not heard ({message.reason})", style="yellow")
        )

    def source_status(self, source: str, status: SourceStatus) -> None:  # noqa: ARG002
        self._status = status

    def scores(self, source: str, top: dict[str, float]) -> None:  # noqa: ARG002
        self._top = top

    def level(
        self,
        source: str,  # noqa: ARG002
        power: float,
        samples: int,  # noqa: ARG002
        a_weighted: float | None = None,  # noqa: ARG002
    ) -> None:
        self._level_dbfs = dbfs(power)

    def __rich__(self) -> RenderableType:
        scores = Table(box=None, show_header=False, pad_edge=False)
        for label, score in self._top.items():
            scores.add_row(label, _bar(score), f"{score:.2f}")
        loudness = 1 - self._level_dbfs / _QUIET_DBFS
        return Group(
            Text.assemble((self._device, "bold"), f"  {self._status}   Ctrl-C ends", style="dim"),
            Text.assemble("level  ", _bar(loudness), f" {self._level_dbfs:6.1f} dBFS"),
            Text(),
            scores,
            Text(),
            *self._events,
        )


def _bar(share: float) -> Text:
    """A bar that is full at 1."""
    filled = round(_METER_WIDTH * min(max(share, 0.0), 1.0))
    return Text.assemble(("█" * filled, "green"), ("·" * (_METER_WIDTH - filled), "dim"))
