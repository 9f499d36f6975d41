"""The service: starts what the configuration names, keeps it going, and stops it in order.

    run ─► load models ─► for each source: capture ─► ring ─► pipeline ─► models ─► publishers
                                                                   ▲            │
                                                                   └── scores ──┘

Stopping: capture ends first, open segments end (truncated), what is queued is delivered under a
deadline, then the broker is told and the connection closed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from detector import __version__
from detector.configured_model import ConfiguredModel
from detector.control import ServiceCommands
from detector.errors import ModelFailedError
from detector.inference.worker import Worker
from detector.loading import LoadedModel
from detector.operate.schedule import Schedule
from detector.operate.stop_signals import stop_signals
from detector.operate.systemd import notify
from detector.publish.commands.commands import CommandListener
from detector.publish.console import ConsolePublisher
from detector.publish.fan_out import FanOut
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
INFERENCE_GRACE_S: Final = 2.0
"""How long a model may take to finish its last window."""
RESTART_PAUSE_S: Final = 5.0


async def serve(
    config: Config,
    models: dict[str, LoadedModel],
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
    models: dict[str, LoadedModel],
    extra: Sequence[Publisher],
    path: Path | None,
    outbox: Outbox | None,
) -> None:
    """As `serve`; over MQTT if there is an outbox."""
    mqtt = MqttPublisher(config.mqtt, config.node, outbox) if outbox is not None else None
    console = [ConsolePublisher()] if config.console.enabled else []
    publisher = FanOut([*extra, *([mqtt] if mqtt else []), *console])
    if outbox is not None:  # before the sources count on
        for message in end_messages(outbox.previous_run, outbox.sequence):
            publisher.event(message)
    workers = {
        name: Worker(model.session, settings.max_batch, settings.max_delay_s)
        for name, model in models.items()
        for settings in (model.configured.settings,)
    }
    sources = list(_sources(config, models, workers, publisher, outbox))
    for source in sources:
        source.declare()
    if mqtt:
        _offer_control(mqtt, config, sources, [model.configured for model in models.values()], path)
    try:
        failure = await _run(sources, publisher, mqtt, list(models))
    finally:
        await asyncio.gather(*(worker.close(INFERENCE_GRACE_S) for worker in workers.values()))
    log.info("stopped")
    if failure:
        raise failure


def _sources(
    config: Config,
    models: dict[str, LoadedModel],
    workers: dict[str, Worker],
    publisher: Publisher,
    outbox: Outbox | None,
) -> Iterator[Source]:
    """What the configuration names."""
    schedule = Schedule(config.schedule, config.time_zone)
    for settings in config.sources:
        yield Source(
            settings,
            config.node,
            [(models[name].configured, workers[name]) for name in settings.models or models],
            publisher,
            schedule,
            config.patterns,
            _resume_point(outbox, settings.name),
        )


async def _run(
    sources: Sequence[Source],
    publisher: Publisher,
    mqtt: MqttPublisher | None,
    models: Sequence[str],
) -> ModelFailedError | None:
    """Run the sources until they have ended, a signal asks to stop, or a model has failed.

    Then stop in order, and return the failure if there was one.
    """
    async with stop_signals() as stop, asyncio.TaskGroup() as group:
        sending = group.create_task(_without_end(mqtt.run), name="mqtt") if mqtt else None
        counting = partial(_publish_stats, publisher, mqtt, sources, time.monotonic())
        stats = group.create_task(_without_end(counting), name="stats")
        hearing = [
            group.create_task(_hear(source), name=f"source {source.name}") for source in sources
        ]
        notify("READY=1")
        log.info("ready", sources=[source.name for source in sources], models=models)
        failure = await _until(stop, hearing)
        notify("STOPPING=1")
        for task in hearing:
            task.cancel()
        await asyncio.wait(hearing, timeout=DRAIN_DEADLINE_S)
        stats.cancel()
        if mqtt and sending:
            left = await mqtt.drain(DRAIN_DEADLINE_S)
            if left:
                log.warning("stopped with events that no broker took: they wait", events=left)
            sending.cancel()
    return failure


async def _hear(source: Source) -> ModelFailedError | None:
    """Run a source; return what ends the service for a restart, if that is what happened."""
    try:
        await source.run()
    except ModelFailedError as error:
        return error
    return None


async def _without_end(run: Callable[[], Awaitable[None]]) -> None:
    """Run what must go on: a mistake in it is told, and it begins again."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("publishing failed; it begins again")
            await asyncio.sleep(RESTART_PAUSE_S)
        else:
            return


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
    configured_models: Sequence[ConfiguredModel],
    path: Path | None,
) -> None:
    """Let Home Assistant know what there is, and take commands, as the configuration wants it."""
    settings = config.homeassistant
    discovery = HomeAssistant(settings, config.mqtt, config.node, __version__, mqtt)
    if settings.enabled:
        discovery.start({source.name: source.labels for source in sources})
    if config.mqtt.commands:
        handler = ServiceCommands(config, path, sources, configured_models, mqtt, discovery)
        handler.start()
        CommandListener(config.mqtt.prefix, config.node, mqtt, handler).start()


async def _until(
    stop: asyncio.Event, hearing: Sequence[asyncio.Task[ModelFailedError | None]]
) -> ModelFailedError | None:
    """Wait for the signal, the end of all sources, or a failure; return the failure."""
    stopped = asyncio.create_task(stop.wait())
    pending: set[asyncio.Task[Any]] = {stopped, *hearing}
    try:
        while stopped in pending and len(pending) > 1:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in hearing:
                failure = task.result() if task in done else None
                if failure:
                    log.error("ending for a restart", error=str(failure))
                    return failure
        return None
    finally:
        stopped.cancel()


async def _publish_stats(
    publisher: Publisher, mqtt: MqttPublisher | None, sources: Sequence[Source], began: float
) -> None:
    while True:
        stats = Stats(
            uptime_s=round(time.monotonic() - began),
            sources={source.name: source.stats() for source in sources},
            delivery=mqtt.delivery() if mqtt else None,
        )
        publisher.stats(stats)
        await asyncio.sleep(STATS_INTERVAL_S)
