"""What goes to stdout and to stderr."""

from typing import Literal

from detector.settings.base import Settings


class ConsoleSettings(Settings):
    enabled: bool = False
    """Events as JSON lines on stdout."""


class LogSettings(Settings):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """auto: for people on a terminal, JSON otherwise."""
