"""What can be said of a program, a FIFO or a socket before anybody writes."""

import os
import shutil
import stat
from pathlib import Path

from detector.capture.reader.program import raw_format
from detector.errors import SourceError
from detector.settings.pcm import SocketAddress
from detector.settings.sources import SourceSettings


def describe(settings: SourceSettings) -> str:
    """A few words on where the sound is to come from, and what it is to be.

    Raises:
        SourceError: it cannot come.
    """
    if settings.program:
        where = _program(settings.program[0])
    elif settings.fifo:
        where = _fifo(settings.fifo)
    elif settings.socket:
        where = _socket(settings.socket)
    else:
        raise SourceError(f"source {settings.name} has neither program, socket nor fifo")
    raw = raw_format(settings)
    return f"{where}; {raw or 'a recording or records: bare samples are refused'}"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SourceError(f"program {name!r} cannot be found, or not be executed")
    return found


def _fifo(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        _check_folder(path)
        return f"FIFO {path}, which will be made"
    except OSError as error:
        raise SourceError(f"FIFO {path}: {error.strerror}") from None
    if not stat.S_ISFIFO(mode):
        raise SourceError(f"{path}: is no FIFO (named pipe); a recording is audio_file")
    if not os.access(path, os.R_OK):
        raise SourceError(f"FIFO {path}: cannot be read by this user")
    return f"FIFO {path}"


def _socket(text: str) -> str:
    address = SocketAddress(text)
    if address.path:
        _check_folder(address.path)
        return f"socket {text}"
    return f"socket {text}" + ("" if address.is_loopback else ", open to other machines")


def _check_folder(path: Path) -> None:
    """Refuse a path at which nothing can be made."""
    if not path.parent.is_dir():
        raise SourceError(f"{path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise SourceError(f"{path}: this user cannot make it in {path.parent}")
