"""Where sound comes from."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from detector.settings.base import FileSettings
from detector.spec import Slug

KINDS: Final = ("device", "audio_file")
"""What sound may come from: each a setting of a source, which has exactly one of them."""


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
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}, not {' and '.join(given) or 'none'}")
        return self
