"""Hours in which other labels become events, or none."""

import re
from datetime import time
from typing import Final, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from detector.settings.base import Settings
from detector.spec import Slug

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)

_HOURS: Final = 24


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
