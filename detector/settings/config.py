"""The whole configuration, and what must fit together in it."""

import os
import socket
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationInfo, field_validator, model_validator

from detector.errors import ConfigError
from detector.settings.base import Settings, beside
from detector.settings.homeassistant import HomeAssistantSettings
from detector.settings.live import LIVE
from detector.settings.models import ModelSettings
from detector.settings.mqtt import MqttSettings
from detector.settings.output import ConsoleSettings, LogSettings
from detector.settings.patterns import PatternSettings
from detector.settings.schedule import ScheduleSettings
from detector.settings.sources import SourceSettings
from detector.slugs import slugify
from detector.spec import Slug


def _host_slug() -> str:
    return slugify(socket.gethostname()) or "node"


class Config(Settings):
    node: Slug = Field(default_factory=_host_slug)
    """What this machine is called in topics and events; its host name if absent."""
    state_dir: Path | None = None
    """Where events wait for the broker; what the service manager names in $STATE_DIRECTORY if
    absent, else $XDG_STATE_HOME/detector, which is ~/.local/state/detector."""
    mqtt: MqttSettings = MqttSettings()
    console: ConsoleSettings = ConsoleSettings()
    homeassistant: HomeAssistantSettings = HomeAssistantSettings()
    schedule: Annotated[tuple[ScheduleSettings, ...], LIVE] = ()
    time_zone: Annotated[str | None, LIVE] = None
    """Of the schedule, as "Europe/Vienna"; this machine's own if absent."""
    log: LogSettings = LogSettings()
    models: dict[Slug, ModelSettings] = Field(
        default_factory=lambda: {"sounds": ModelSettings(bundle="sounds")}, min_length=1
    )
    patterns: Annotated[dict[Slug, PatternSettings], LIVE] = Field(default_factory=dict)
    """Events that follow from labels: of several, of their rhythm, or of there being none."""
    sources: tuple[SourceSettings, ...] = Field(
        default_factory=lambda: (SourceSettings(name="microphone", device="default"),), min_length=1
    )

    @property
    def state_folder(self) -> Path:
        """Where state is kept between runs."""
        if self.state_dir is not None:
            return self.state_dir
        if given := os.environ.get("STATE_DIRECTORY"):
            return Path(given.partition(":")[0])
        home = os.environ.get("XDG_STATE_HOME", "")
        if Path(home).is_absolute():
            return Path(home, "detector")
        try:
            return Path("~/.local/state/detector").expanduser()
        except RuntimeError:
            raise ConfigError("state_dir: must be given: there is no home directory") from None

    @field_validator("state_dir", mode="before")
    @classmethod
    def _resolve_state_dir(cls, value: object, info: ValidationInfo) -> object:
        return beside(value, info) if isinstance(value, str) else value

    @field_validator("sources")
    @classmethod
    def _unique(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}; names are parts of topics")
        return sources

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (ValueError, OSError, ZoneInfoNotFoundError):
                raise ValueError(
                    "no such time zone here: it is written as Europe/Vienna, and the system needs "
                    "its package tzdata"
                ) from None
        return name

    @model_validator(mode="after")
    def _discovery_needs_a_broker(self) -> Self:
        if self.homeassistant.enabled and not self.mqtt.enabled:
            raise ValueError("homeassistant.enabled: needs mqtt.enabled = true")
        return self

    @model_validator(mode="after")
    def _scheduled_sources_exist(self) -> Self:
        names = [source.name for source in self.sources]
        for index, schedule in enumerate(self.schedule):
            for name in schedule.sources or ():
                if name not in names:
                    raise ValueError(
                        f"schedule.{index}.sources: there is no source {name!r}, "
                        f"only {', '.join(names)}"
                    )
        return self

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        for source in self.sources:
            for model in source.models or ():
                if model not in self.models:
                    raise ValueError(
                        f"sources.{source.name}.models: there is no model {model!r}, "
                        f"only {', '.join(self.models)}"
                    )
        return self

    @model_validator(mode="after")
    def _confirming_models_listen(self) -> Self:
        for name, model in self.models.items():
            other = model.confirmed_by
            if other is None:
                continue
            if other == name or other not in self.models:
                others = ", ".join(known for known in self.models if known != name) or "this one"
                raise ValueError(
                    f"models.{name}.confirmed_by = {other!r}: must be another model; "
                    f"there is only {others}"
                )
            for source in self.sources:
                listening = source.models or tuple(self.models)
                if name in listening and other not in listening:
                    raise ValueError(
                        f"sources.{source.name}.models: {name!r} is confirmed by {other!r}, "
                        "which does not listen here; add it"
                    )
        return self
