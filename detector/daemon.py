"""The service: starts what the configuration names, keeps it going, and stops it in order.

    run ─► load models ─► for each source: capture ─► ring ─► pipeline ─► models ─► publishers
                                                                   ▲            │
                                                                   └── scores ──┘

Stopping: capture ends first, open segments end (truncated), what is queued is delivered under a
deadline, then the broker is told and the connection closed.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from detector import __version__
from detector.control import ServiceCommands
from detector.inference.worker import Worker
from detector.loading import Model
from detector.operate.schedule import Schedule
from detector.operate.systemd import notify
from detector.pipeline import Listener
from detector.publish.commands.commands import CommandListener
from detector.publish.console import ConsolePublisher
from detector.publish.homeassistant.discovery import HomeAssistant
from detector.publish.mqtt.publisher import MqttPublisher
from detector.publish.outbox.durable import DurableOutbox
from detector.publish.outbox.outbox import Outbox
from detector.publish.previous_run import ResumePoint, end_messages
from detector.publish.publisher import Publisher
from detector.settings.config import Config
from detector.source import Source
from detector.stats import Stats

log = structlog.get_logger()

STATS_INTERVAL_S: Final = 60.0
DRAIN_DEADLINE_S: Final = 5.0


async def serve(
    config: Config,
    models: dict[str, Model],
    extra: Sequence[Publisher] = (),
    path: Path | None = None,
) -> None:
    """Run until a signal asks to stop, or until every source has ended.

    Args:
        config: what to run.
        models: the loaded models of that configuration.
        extra: publishers beside those that the configuration names.
        path: where the configuration was read from, and is read again from.

    Raises:
        StateError: another daemon has the state directory.
    """
    if not config.mqtt.enabled:
        await _serve(config, models, extra, path, None)
        return
    settings = config.mqtt
    async with DurableOutbox(
        config.state_folder, settings.queue_events, settings.queue_bytes
    ) as outbox:
        await _serve(config, models, extra, path, outbox)


async def _serve(
    config: Config,
    models: dict[str, Model],
    extra: Sequence[Publisher],
    path: Path | None,
    outbox: Outbox | None,
) -> None:
    """As `serve`; over MQTT if there is an outbox."""
    mqtt = MqttPublisher(config.mqtt, config.node, outbox) if outbox is not None else None
    publishers: list[Publisher] = [*extra, *([mqtt] if mqtt else [])]
    if config.console.enabled:
        publishers.append(ConsolePublisher())
    if outbox is not None:  # before the sources count on
        for message in end_messages(outbox.previous_run, outbox.sequence):
            for publisher in publishers:
                publisher.event(message)
    workers = {name: Worker(model.session) for name, model in models.items()}
    schedule = Schedule(config.schedule, config.time_zone)
    sources = [
        Source(
            settings,
            config.node,
            [(models[name].listener, workers[name]) for name in settings.models or models],
            publishers,
            schedule,
            config.patterns,
            _resume_point(outbox, settings.name),
        )
        for settings in config.sources
    ]
    listeners = [model.listener for model in models.values()]
    for source in sources:
        source.declare()
    if mqtt:
        _offer_control(mqtt, config, sources, listeners, path)
    async with _stop_signals() as stop, asyncio.TaskGroup() as group:
        sending = group.create_task(mqtt.run(), name="mqtt") if mqtt else None
        stats = group.create_task(_publish_stats(publishers, mqtt, sources), name="stats")
        hearing = [group.create_task(s.run(), name=f"source {s.name}") for s in sources]
        notify("READY=1")
        log.info("ready", node=config.node, sources=[s.name for s in sources], models=list(models))
        await _until(stop, hearing)
        notify("STOPPING=1")
        for task in hearing:
            task.cancel()
        await asyncio.wait(hearing)
        stats.cancel()
        if mqtt and sending:
            left = await mqtt.drain(DRAIN_DEADLINE_S)
            if left:
                log.warning("stopped with events that no broker took: they wait", events=left)
            sending.cancel()
    log.info("stopped")


def _resume_point(outbox: Outbox | None, source: str) -> ResumePoint:
    if outbox is None:
        return ResumePoint()
    return ResumePoint(
        partial(outbox.sequence, source), outbox.previous_run.heard_until.get(source)
    )


def _offer_control(
    mqtt: MqttPublisher,
    config: Config,
    sources: Sequence[Source],
    listeners: Sequence[Listener],
    path: Path | None,
) -> None:
    """Let Home Assistant know what there is, and take commands, as the configuration wants it."""
    settings = config.homeassistant
    discovery = HomeAssistant(settings, config.mqtt, config.node, __version__, mqtt)
    if settings.enabled:
        discovery.start({source.name: source.labels for source in sources})
    if config.mqtt.commands:
        handler = ServiceCommands(config, path, sources, listeners, mqtt, discovery)
        handler.start()
        CommandListener(config.mqtt.prefix, config.node, mqtt, handler).start()


async def _until(stop: asyncio.Event, hearing: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the signal, or for the end of all sources."""
    stopped = asyncio.create_task(stop.wait())
    pending: set[asyncio.Task[Any]] = {stopped, *hearing}
    while stopped in pending and len(pending) > 1:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


async def _publish_stats(
    publishers: Sequence[Publisher], mqtt: MqttPublisher | None, sources: Sequence[Source]
) -> None:
    began = time.monotonic()
    while True:
        stats = Stats(
            uptime_s=round(time.monotonic() - began),
            sources={source.name: source.stats() for source in sources},
            delivery=mqtt.delivery() if mqtt else None,
        )
        for publisher in publishers:
            publisher.stats(stats)
        await asyncio.sleep(STATS_INTERVAL_S)


@contextlib.asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; their handlers are put back afterwards."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
