"""The configuration: a TOML file becomes frozen, validated settings, one class a concern.

A mistake is refused with the file, the field, its value and what would be right; nothing is
guessed and no key is ignored.
"""

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from detector.errors import ConfigError
from detector.explain import explain
from detector.slugs import slugify
from detector.spec import Score, Slug

TopicPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _beside(path: str, info: ValidationInfo) -> Path:
    """A relative path counts from the folder of the configuration file."""
    base = (info.context or {}).get("folder", Path())
    try:
        return Path(base, Path(path).expanduser())
    except RuntimeError as error:  # ~ of somebody who is not known
        raise ValueError(str(error)) from None


class FileSettings(Settings):
    """Settings in which every `*_file` is a path relative to the configuration's folder."""

    @field_validator("*", mode="before")
    @classmethod
    def _resolve(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and info.field_name and info.field_name.endswith("_file"):
            return _beside(value, info)
        return value


class TlsSettings(FileSettings):
    ca_file: Path | None = None
    """The authority that signed the broker's certificate; the system's own if absent."""
    certificate_file: Path | None = None
    """The client's certificate and key, if the broker asks for one."""
    key_file: Path | None = None
    alpn: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] | None = None
    """Protocols to ask for, if one port serves several: AWS IoT wants "mqtt" on port 443."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class MqttSettings(FileSettings):
    enabled: bool = True
    host: str = Field("localhost", min_length=1)
    port: int | None = Field(None, ge=1, le=65535)
    """1883, or 8883 with TLS, if absent."""
    transport: Literal["tcp", "websockets"] = "tcp"
    websocket_path: str = Field("/mqtt", pattern=r"^/[!-~]*$")
    prefix: TopicPath = "detector"
    client_id: str | None = Field(None, min_length=1, max_length=64)
    """`{prefix}-{node}` if absent."""
    username: str | None = None
    password_file: Path | None = None
    """A file whose first line is the password. Read anew at each connection."""
    password_credential: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]+$")
    """The name of a systemd credential (LoadCredential=) that holds the password."""
    keepalive_s: int = Field(30, ge=5, le=3600)
    timeout_s: float = Field(10.0, gt=0)
    """How long one operation may take before the connection counts as lost."""
    queue_events: int = Field(10_000, ge=1)
    """Events kept while the broker is away; beyond it the oldest are dropped and counted."""
    queue_bytes: int = Field(32 * 2**20, ge=100_000)
    """How much room they may take; beyond it as well."""
    scores: bool = False
    """Publish the top labels of each window, for tuning."""
    level_interval_s: float = Field(10.0, ge=0)
    """How often the level of each source is published; 0 is never."""
    commands: bool = False
    """Obey what is sent to `{prefix}/{node}/command/…`: mute, thresholds, reload, explain."""
    tls: TlsSettings | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.password_file and self.password_credential:
            raise ValueError("give password_file or password_credential, not both")
        if (self.password_file or self.password_credential) and not self.username:
            raise ValueError("a password needs a username")
        return self


class HomeAssistantSettings(Settings):
    enabled: bool = False
    """Tell Home Assistant, by MQTT discovery, what there is to see."""
    discovery_prefix: TopicPath = "homeassistant"
    """As Home Assistant's MQTT integration has it."""
    labels: tuple[Slug, ...] | None = None
    """The labels that get a binary sensor for each source; all that can be heard if absent, up to
    a bound."""


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


class ScheduleSettings(Settings):
    """Hours in which only some labels become events, or none."""

    begin: time = Field(alias="from")
    """Local time at which the hours begin, as "22:00"."""
    end: time = Field(alias="to")
    """Local time at which they end; the next day if that is not after `from`, so that the same
    time twice is a whole day."""
    days: tuple[Weekday, ...] | None = Field(None, min_length=1)
    """On which days they begin; every day if absent."""
    sources: tuple[Slug, ...] | None = Field(None, min_length=1)
    """Which sources it is about; all if absent."""
    only: tuple[Slug, ...] | None = Field(None, min_length=1)
    """The labels that become events in these hours."""
    quiet: bool = False
    """None does."""

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _local_time(cls, value: object) -> object:
        if isinstance(value, time):  # TOML has times of its own
            return value
        found = re.fullmatch(r"([01]?\d|2[0-4]):([0-5]\d)", str(value))
        if not found or (int(found[1]) == _HOURS and int(found[2])):
            raise ValueError('must be a local time such as "22:00"')
        return time(int(found[1]) % _HOURS, int(found[2]))

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.quiet == (self.only is not None):
            raise ValueError("give either only = [labels] or quiet = true")
        return self


_HOURS: Final = 24


class ConsoleSettings(Settings):
    enabled: bool = False
    """Events as JSON lines on stdout."""


class LogSettings(Settings):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """auto: for people on a terminal, JSON otherwise."""


class LabelSettings(Settings):
    """What the configuration changes of a label of a bundle."""

    enabled: bool | None = None
    onset_threshold: Score | None = None
    offset_threshold: Score | None = None
    min_duration_s: float | None = Field(None, ge=0)
    merge_gap_s: float | None = Field(None, ge=0)


class ModelSettings(Settings):
    bundle: str = Field(min_length=1)
    """The name of a built-in bundle, or the path of a folder (with a slash in it)."""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """cuda: fail if there is no GPU; auto: use one if there is one, and say which."""
    threads: int = Field(1, ge=1, le=64)
    hop_s: float | None = Field(None, gt=0)
    """Seconds between windows; the bundle's own if absent."""
    update_interval_s: float = Field(10.0, gt=0)
    """How often a segment that goes on is reported."""
    smoothing_windows: int = Field(1, ge=1, le=99)
    """Length of the median filter over the scores of windows (of frames, if the model scores
    frames); 1 is none, else odd."""
    decided_by: Literal["clip", "frames", "both"] | None = None
    """Which scores of the model become events: of its whole window (clip), of its frames, or both:
    frames say when, and the clip of the window that they are in confirms what. All that the bundle
    has if absent."""
    confirmed_by: Slug | None = None
    """The name of another model, a tagger: this one says when, by its frames, and a label of the
    same slug counts in full only where the other's score of it reaches the other's own onset
    threshold, and less in proportion below. Labels that the other does not have are not confirmed
    and count as they are. Events come up to one hop of the other later. It must listen to every
    source that this one listens to, and makes events of its own unless `only = []`."""
    only: tuple[Slug, ...] | None = None
    """The labels that become events; the bundle's enabled ones if absent."""
    labels: dict[Slug, LabelSettings] = {}

    @field_validator("smoothing_windows")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value

    @field_validator("bundle", mode="before")
    @classmethod
    def _resolve(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and "/" in value:
            return str(_beside(value, info).absolute())  # ./name must not become a plain name
        return value


class SourceSettings(FileSettings):
    """One place that sound comes from: a microphone, or a file."""

    name: Slug
    device: str | None = Field(None, min_length=1)
    """A sound device as `detector devices` names it, a part of that name, or `default`."""
    audio_file: Path | None = None
    """A recording, read at the pace at which it was made."""
    channel: int | Literal["mix"] = "mix"
    """Which channel to hear, counted from 1; mix is the mean of all."""
    models: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the models that listen; all if absent."""

    @field_validator("channel")
    @classmethod
    def _from_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("channels are counted from 1")
        return value

    @field_validator("models")
    @classmethod
    def _once(cls, models: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if models and len(set(models)) < len(models):
            raise ValueError("a model stands twice")
        return models

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.device is None) == (self.audio_file is None):
            raise ValueError("give either device or audio_file")
        return self


class PatternBase(Settings):
    name: str | None = Field(None, min_length=1, max_length=200)
    """As people read it; made of the slug if absent."""
    update_interval_s: float = Field(10.0, gt=0)
    """How often a pattern that goes on is reported."""

    def subject(self, slug: str) -> str:
        """Its name."""
        return self.name or slug.replace("_", " ").strip().capitalize() or slug


class GroupSettings(PatternBase):
    """An event that lasts while any of its labels is heard."""

    kind: Literal["group"]
    labels: tuple[Slug, ...] = Field(min_length=1)
    """Labels of any model, whether or not they become events, or patterns of another kind."""
    merge_gap_s: float = Field(1.0, ge=0, le=600)
    """Labels with no longer pause between them are one event."""


Duration = Annotated[float, Field(gt=0, le=60)]


def _in_order(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] >= span[1]:
        raise ValueError("must be the least and the most, in this order")
    return span


Span = Annotated[tuple[Duration, Duration], AfterValidator(_in_order)]
"""Seconds: the least and the most."""

RHYTHMS: Final[Mapping[str, Mapping[str, Any]]] = {
    # ISO 8201: 0.5 s on and off, three times, then 1.5 s of pause.
    "t3": {"count": 3, "on_s": (0.25, 0.85), "off_s": (0.15, 0.75), "pause_s": (1.0, 2.0)},
    # NFPA 72: 0.1 s on and off, four times, then 5 s of pause.
    "t4": {"count": 4, "on_s": (0.03, 0.19), "off_s": (0.03, 0.19), "pause_s": (3.0, 6.0)},
}
"""What a cycle of each alarm may be, as models hear it: edges move by a frame or two, and rooms
make beeps longer and pauses shorter. The least pause is what must be heard to know that no beep
follows; that it is as long as it is tells an alarm from a clock, within five seconds."""


class RepetitionSettings(PatternBase):
    """An event for beeps in a rhythm."""

    kind: Literal["repetition"]
    label: Slug
    """What is counted: a label of any model, whether or not it becomes an event."""
    model: Slug | None = None
    """Whose label it is, if several have it."""
    rhythm: Literal["t3", "t4"] | None = None
    """t3: smoke (ISO 8201), t4: carbon monoxide (NFPA 72). What is given beside it counts more."""
    count: int = Field(ge=2, le=50)
    """How many beeps make a cycle."""
    on_s: Span
    """How long a beep is."""
    off_s: Span
    """How long it is from the end of one to the next."""
    pause_s: Span
    """How long it is from the end of a cycle to the next. There must be as much quiet as the least
    before and after a cycle; after the most, the event has ended."""

    @model_validator(mode="before")
    @classmethod
    def _known_rhythm(cls, table: object) -> object:
        if not isinstance(table, Mapping):
            return table
        rhythm = RHYTHMS.get(table["rhythm"]) if isinstance(table.get("rhythm"), str) else None
        return {**(rhythm or {}), **table}

    @model_validator(mode="after")
    def _pause_is_longer(self) -> Self:
        if self.pause_s[0] < self.off_s[1]:
            raise ValueError(
                f"pause_s begins at {self.pause_s[0]}, but beeps of one cycle may be "
                f"{self.off_s[1]} s apart (off_s): a longer pause must end a cycle"
            )
        return self


class LoudUnlabelledSettings(PatternBase):
    """An event for what is loud and no model has a name for."""

    kind: Literal["loud_unlabelled"]
    threshold_dbfs: float = Field(-30.0, ge=-120, le=0)
    """The mean level from which on something is loud; a full-scale square wave is 0."""
    stretch_s: float = Field(0.5, ge=0.1, le=10)
    """The time over which the level is the mean."""
    min_duration_s: float = Field(1.0, ge=0, le=600)
    merge_gap_s: float = Field(1.0, ge=0, le=600)
    margin_s: float = Field(1.0, ge=0, le=30)
    """A label accounts for what is as near as this to it; events come so much later."""


PatternSettings = Annotated[
    GroupSettings | RepetitionSettings | LoudUnlabelledSettings, Field(discriminator="kind")
]


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
    schedule: tuple[ScheduleSettings, ...] = ()
    time_zone: str | None = None
    """Of the schedule, as "Europe/Vienna"; this machine's own if absent."""
    log: LogSettings = LogSettings()
    models: dict[Slug, ModelSettings] = Field(
        default_factory=lambda: {"sounds": ModelSettings(bundle="sounds")}, min_length=1
    )
    patterns: dict[Slug, PatternSettings] = {}
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
        return _beside(value, info) if isinstance(value, str) else value

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


def load_config(path: Path | None) -> Config:
    """Read and validate a configuration; the defaults if `path` is None.

    Raises:
        ConfigError: naming the file, the field, its value and what would be right.
    """
    if path is None:
        return Config()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    try:
        # TOML has one kind of list; strict mode would insist on tuples.
        return Config.model_validate(_tuples(table), context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in explain(error, Config))) from None


def _tuples(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value
