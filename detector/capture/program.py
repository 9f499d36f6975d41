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
    complete: bool = False
    """Whether what it hears comes by a way that loses and makes up nothing, but may hold it back:
    a pipe or TCP, and no sound server."""
    longest_pause_s: float = 2.0
    """Between two starts. Opening takes two seconds more, and a device that returns is to be heard
    within five."""
