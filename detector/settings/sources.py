"""Where sound comes from."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from detector.settings.base import beside
from detector.settings.pcm import (
    ALSA,
    MAX_RATE,
    MIN_RATE,
    MOST_CHANNELS,
    SampleFormat,
    SocketAddress,
)
from detector.settings.streams import StreamSettings
from detector.spec import Slug

KINDS: Final = ("device", "url", "audio_file", "program", "socket", "fifo")
"""What sound may come from: each a setting of a source, which has exactly one of them."""


class SourceSettings(StreamSettings):
    """One place that sound comes from: a microphone, a stream, a file, or what others write."""

    name: Slug
    device: str | None = Field(None, min_length=1)
    """A sound device as `detector devices` names it, a part of that name, or `default`."""
    audio_file: Path | None = None
    """A recording, read at the pace at which it was made."""
    loop: bool = False
    """Of a recording: begin again at its end, for ever."""
    program: tuple[str, ...] | None = Field(None, min_length=1)
    """A program that writes sound to its stdout, and its arguments."""
    socket: str | None = None
    """Where another program may send sound to: `unix:/path` or `tcp:ADDRESS:PORT`."""
    fifo: Path | None = None
    """A named pipe that another program writes sound to; it is made if there is none."""
    rate: int | None = Field(None, ge=MIN_RATE, le=MAX_RATE)
    """Hertz, of bare samples that a program, socket or FIFO delivers."""
    channels: int | None = Field(None, ge=1, le=MOST_CHANNELS)
    """How many are interleaved in bare samples."""
    sample_format: SampleFormat | None = None
    """What bare samples are; as ffmpeg or arecord calls it."""
    permissions: str = Field("0660", pattern=r"^0?[0-7]{3}$")
    """Of a UNIX socket, or a FIFO that is made: who may write, as chmod takes it."""
    beyond_loopback: bool = False
    """Whether a TCP socket may listen at an address that other machines reach."""
    channel: int | Literal["mix"] = "mix"
    """Which channel to hear, counted from 1; mix is the mean of all."""
    gain_db: float = Field(0.0, ge=-60, le=60)
    """What it is amplified by before anything is made of it; not before clipping is looked for."""
    highpass_hz: float | None = Field(None, ge=10, le=2000)
    """Below this frequency nothing is heard: wind, footfall, rumble."""
    mains_hz: Literal[50, 60] | None = None
    """Take out the hum of mains of this frequency."""
    models: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the models that listen; all if absent."""

    @field_validator("device")
    @classmethod
    def _no_url(cls, value: str | None) -> str | None:
        if value and "://" in value:
            raise ValueError("a stream is given by url, not by device")
        return value

    @field_validator("channel")
    @classmethod
    def _from_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("channels are counted from 1")
        return value

    @field_validator("sample_format", mode="before")
    @classmethod
    def _as_ffmpeg_calls_it(cls, value: object) -> object:
        return ALSA.get(value, value) if isinstance(value, str) else value

    @field_validator("fifo", mode="before")
    @classmethod
    def _beside(cls, value: object, info: ValidationInfo) -> object:
        return beside(value, info) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _bare_samples(self) -> Self:
        given = [n for n in ("rate", "channels", "sample_format") if getattr(self, n) is not None]
        if given and not (self.program or self.socket or self.fifo):
            raise ValueError(f"{given[0]} is for program, socket and fifo")
        if len(given) in (1, 2):
            raise ValueError("bare samples need all of rate, channels and sample_format")
        if self.channels and isinstance(self.channel, int) and self.channel > self.channels:
            raise ValueError(f"channel = {self.channel} is none of channels = {self.channels}")
        return self

    @model_validator(mode="after")
    def _reached_by_whom(self) -> Self:
        address = SocketAddress(self.socket) if self.socket is not None else None
        if "permissions" in self.model_fields_set and not (self.fifo or (address and address.path)):
            raise ValueError("permissions is for fifo, and socket with unix:")
        if "beyond_loopback" in self.model_fields_set and (not address or address.path):
            raise ValueError("beyond_loopback is for socket with tcp:")
        if address is None:
            return self
        if not address.path and not address.is_loopback and not self.beyond_loopback:
            raise ValueError(
                f"socket = {self.socket!r} is reached from other machines, and whoever reaches it "
                "can make events; if that is meant, set beyond_loopback = true"
            )
        return self

    @field_validator("models")
    @classmethod
    def _once(cls, models: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if models and len(set(models)) < len(models):
            raise ValueError("a model stands twice")
        return models

    @model_validator(mode="after")
    def _looped(self) -> Self:
        if self.loop and self.audio_file is None:
            raise ValueError("loop is for audio_file")
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}, not {' and '.join(given) or 'none'}")
        return self
