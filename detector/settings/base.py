"""What all settings have in common, and how they name files."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator

TopicPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def beside(path: str, info: ValidationInfo) -> Path:
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
            return beside(value, info)
        return value
