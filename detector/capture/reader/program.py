"""The reader, as the daemon runs it."""

import sys
from pathlib import Path
from typing import Final

from detector.capture.programs.program import CaptureProgram
from detector.capture.sound.pcm import RawFormat
from detector.settings.sources import SourceSettings

_LONGEST_PAUSE_S: Final = 15.0
"""Between two starts of what has failed time and again: each costs a fifth of a second of CPU."""


def program(settings: SourceSettings) -> CaptureProgram:
    """The reader of a source with `program`, `socket` or `fifo`."""
    command = [sys.executable, "-m", "detector.capture.reader"]
    if raw := raw_format(settings):
        command += ["--raw", str(raw.rate), str(raw.channels), raw.sample_format]
    command += ["--permissions", settings.permissions]
    if settings.program:
        source = f"program {Path(settings.program[0]).name!r}"  # its arguments may hold a password
        command += ["--program", *settings.program]
    elif settings.socket:
        source = f"socket {settings.socket}"
        command += ["--socket", settings.socket]
    else:
        source = f"FIFO {settings.fifo}"
        command += ["--fifo", str(settings.fifo)]
    return CaptureProgram(
        name="reader",
        source=source,
        command=tuple(command),
        complete=True,
        longest_pause_s=_LONGEST_PAUSE_S,
    )


def raw_format(settings: SourceSettings) -> RawFormat | None:
    """What bare samples are, if the settings say so."""
    if settings.rate is None or settings.channels is None or settings.sample_format is None:
        return None
    return RawFormat(settings.rate, settings.channels, settings.sample_format)
