"""What is to be known of a capture program to run it."""

from dataclasses import dataclass, field
from typing import Final

OPEN_S: Final = 8.0
GIVE_UP_S: Final = 5.0
LONGEST_PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class CaptureProgram:
    """A program that writes records (`framing.py`) to its stdout.

    It ends when its stdin is closed. What it writes to stderr goes to the log. The times have been
    found right for sound devices.
    """

    name: str
    """What people call it: microphone program."""
    source: str
    """What it captures, for errors: device 'hall'."""
    command: tuple[str, ...]
    """The executable and its arguments."""
    request: bytes = field(default=b"", repr=False)
    """Written to its stdin: what is secret, and so may not be among the arguments."""
    open_s: float = OPEN_S
    """How long the first block may take: sound servers have been seen to take three seconds."""
    give_up_s: float = GIVE_UP_S
    """How long, after it stalled, it is waited for before it is started again."""
    longest_pause_s: float = LONGEST_PAUSE_S
    """Between two starts. Opening a device takes two seconds more, and one that returns is to be
    heard within five."""
    complete: bool = False
    """Whether what it hears comes by a way that loses and makes up nothing, but may hold it back:
    a pipe or TCP, and no sound server."""
    address: tuple[str, int] | None = None
    """Host and port that it connects to. While nobody takes connections there it is not started
    again: a start costs a fifth of a second of CPU, and many cameras may be away at once."""
