"""Carries out what is commanded of a running service: mutes, thresholds, other settings."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from detector.compatibility import check_settings, publishes
from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.segments.label_rules import hint
from detector.operate.schedule import Schedule
from detector.pipeline import pattern_input
from detector.publish import topics
from detector.publish.commands.commands import CommandResult
from detector.publish.commands.replies import Explanation
from detector.publish.homeassistant.discovery import HomeAssistant
from detector.publish.mqtt.publisher import MqttPublisher
from detector.settings.config import Config
from detector.settings.live import need_restart, with_live
from detector.settings.load import load_config
from detector.settings.models import LabelSettings
from detector.settings.patterns import PatternSettings


class ControllableSource(Protocol):
    """What can be commanded of a source."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> dict[str, str]: ...

    def mute(self) -> None: ...

    def unmute(self) -> None: ...

    def reschedule(self, schedule: Schedule) -> None: ...

    def retune(
        self,
        configured_models: Mapping[str, ConfiguredModel],
        patterns: Mapping[str, PatternSettings],
    ) -> None: ...

    def explain(self, at: datetime, within_s: float) -> Explanation: ...


class ServiceCommands:
    """Carries out commands, in the thread of the event loop.

    A command is checked whole before anything is done, so one that is refused has no effect.
    """

    def __init__(
        self,
        config: Config,
        path: Path | None,
        sources: Sequence[ControllableSource],
        configured_models: Sequence[ConfiguredModel],
        mqtt: MqttPublisher,
        discovery: HomeAssistant,
    ) -> None:
        """`path` is where `config` was read from."""
        self._config, self._path = config, path
        self._sources = {source.name: source for source in sources}
        self._listeners = {configured.name: configured for configured in configured_models}
        self._mqtt, self._discovery = mqtt, discovery
        self._unmute_timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Tell that nothing is muted: a broker may remember otherwise."""
        for name in self._sources:
            self._publish_muted(name, "OFF")

    def mute(self, source: str | None, duration_s: float | None) -> CommandResult:
        names = self._source_names(source)
        for name in names:
            self._cancel_unmute(name)
            self._sources[name].mute()
            self._publish_muted(name, "ON")
            if duration_s is not None:
                self._unmute_timers[name] = asyncio.get_running_loop().call_later(
                    duration_s, partial(self._unmute, name)
                )
        until = "it is unmuted"
        if duration_s is not None:
            until = f"{datetime.now(UTC) + timedelta(seconds=duration_s):%Y-%m-%dT%H:%M:%SZ}"
        return CommandResult(f"muted until {until}: {', '.join(names)}")

    def unmute(self, source: str | None) -> CommandResult:
        names = self._source_names(source)
        for name in names:
            self._unmute(name)
        return CommandResult(f"not muted: {', '.join(names)}")

    def set_threshold(
        self, model: str | None, label: str, onset: float | None, offset: float | None
    ) -> CommandResult:
        configured = self._model_with_label(model, label)
        settings = configured.settings.by_slug(configured.spec.labels)
        changes = {"onset_threshold": onset, "offset_threshold": offset}
        own = (settings.labels.get(label) or LabelSettings()).model_copy(
            update={field: value for field, value in changes.items() if value is not None}
        )
        changed = settings.model_copy(update={"labels": {**settings.labels, label: own}})
        models = {**self._config.models, configured.name: changed}
        self._apply(self._config.model_copy(update={"models": models}))
        now = ", ".join(
            f"{field} = {value}" for field, value in own.model_dump(exclude_none=True).items()
        )
        if not publishes(configured, label):
            now += "; it is no event itself, so this counts for patterns alone"
        return CommandResult(
            f"models.{configured.name}.labels.{label}: {now}; until the next restart or reload, "
            "so write it to the configuration to keep it"
        )

    def reload(self) -> CommandResult:
        if self._path is None:
            raise ConfigError("the service runs on its defaults: there is no file to read again")
        new = load_config(self._path)
        restart = tuple(need_restart(self._config, new))
        try:
            self._apply(with_live(self._config, new), str(self._path))
        except ConfigError as error:
            later = f"; only a restart changes {', '.join(restart)}" if restart else ""
            raise ConfigError(f"{error}{later}") from None
        rest = f"; after a restart: {', '.join(restart)}" if restart else ""
        return CommandResult(f"{self._path} was read again{rest}", restart=restart)

    def explain(self, source: str | None, at: datetime, within_s: float) -> CommandResult:
        if source is None and len(self._sources) > 1:
            raise ConfigError(f"source: which one? there are {', '.join(self._sources)}")
        [name] = self._source_names(source)
        explanation = self._sources[name].explain(at, within_s)
        return CommandResult(
            f"{len(explanation.labels)} labels stood out in {name}", explanation=explanation
        )

    def _source_names(self, source: str | None) -> list[str]:
        if source is not None and source not in self._sources:
            raise ConfigError(f"there is no source {source!r}, only {', '.join(self._sources)}")
        return list(self._sources) if source is None else [source]

    def _unmute(self, name: str) -> None:
        self._cancel_unmute(name)
        self._sources[name].unmute()
        self._publish_muted(name, "OFF")

    def _cancel_unmute(self, name: str) -> None:
        timer = self._unmute_timers.pop(name, None)
        if timer:
            timer.cancel()

    def _publish_muted(self, name: str, state: str) -> None:
        self._mqtt.retain(topics.muted(*self._node_topic, name), state)

    @property
    def _node_topic(self) -> tuple[str, str]:
        return self._config.mqtt.prefix, self._config.node

    def _model_with_label(self, model: str | None, label: str) -> ConfiguredModel:
        """The model that is meant by a command about a label."""
        if model is not None and model not in self._listeners:
            raise ConfigError(f"there is no model {model!r}, only {', '.join(self._listeners)}")
        asked = [self._listeners[model]] if model else list(self._listeners.values())
        having = [configured for configured in asked if publishes(configured, label)]
        if not having:  # a pattern may listen for it
            having = [
                configured for configured in asked if label in pattern_input(configured).known
            ]
        if not having:
            known = sorted(
                {slug for configured in asked for slug in pattern_input(configured).known}
            )
            raise ConfigError(f"no model hears {label!r}{hint(label, known)}")
        if len(having) > 1:
            names = ", ".join(configured.name for configured in having)
            raise ConfigError(f"model: which one? {label!r} is a label of {names}")
        return having[0]

    def _apply(self, config: Config, origin: str | None = None) -> None:
        """Go by another configuration, as a service that starts with it does.

        Raises:
            ConfigError: if that service would not start; then nothing is changed.
        """
        configured_models = {
            name: replace(configured, settings=config.models[name])
            for name, configured in self._listeners.items()
        }
        check_settings(config, configured_models, origin)
        schedule = Schedule(config.schedule, config.time_zone)
        labels_before = self._labels()
        self._config, self._listeners = config, configured_models
        for source in self._sources.values():
            source.retune(configured_models, config.patterns)
            source.reschedule(schedule)
        self._publish_labels(labels_before, self._labels())

    def _labels(self) -> dict[str, dict[str, str]]:
        return {name: source.labels for name, source in self._sources.items()}

    def _publish_labels(
        self, before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Begin the states of labels that are new, and end those of labels that are no more."""
        for name, labels in after.items():
            state: Callable[[str], str] = partial(topics.state, *self._node_topic, name)
            for label in labels.keys() - before[name].keys():
                self._mqtt.retain(state(label), "OFF")
            for label in before[name].keys() - labels.keys():
                self._mqtt.release(state(label))
        if self._config.homeassistant.enabled:
            self._discovery.update(self._config.homeassistant, after)
