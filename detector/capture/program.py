"""What is to be known of a capture program to run it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CaptureProgram:
    """A program that writes records (`framing.py`) to its stdout.

    It ends when its stdin is closed. What it writes to stderr goes to the log.
    """

    name: str
    """What people call it: microphone program."""
    source: str
    """What it captures, for errors: device 'hall'."""
    command: tuple[str, ...]
    """The executable and its arguments."""
