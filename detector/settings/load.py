"""Reads a configuration file.

A mistake is refused with the file, the field, its value and what would be right; nothing is
guessed and no key is ignored.
"""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detector.errors import ConfigError
from detector.settings.config import Config
from detector.validation_errors import describe_errors


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
        raise ConfigError(
            "\n".join(f"{path}: {line}" for line in describe_errors(error, Config))
        ) from None


def _tuples(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value
