"""`python -m detector.capture.reader`: what others write becomes records on stdout.

It ends when its stdin or stdout is closed, so that it never outlives the daemon.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import Final

from detector.capture.reader.arguments import parser
from detector.capture.reader.child import Child
from detector.capture.reader.fifo import Fifo
from detector.capture.reader.hearing import hear
from detector.capture.reader.listener import Listener
from detector.capture.reader.origins import Origin
from detector.capture.reader.output import Output
from detector.capture.sound.pcm import RawFormat
from detector.errors import DetectorError

EXIT_FAILED: Final = 4
_BUFFER_BYTES: Final = 1 << 20


def main() -> int:
    arguments = parser().parse_args()
    permissions = int(arguments.permissions, 8)
    raw = None
    if arguments.raw:
        rate, channels, sample_format = arguments.raw
        raw = RawFormat(int(rate), int(channels), sample_format)
    origin: Origin
    if arguments.program:
        origin = Child(arguments.program)
    elif arguments.socket:
        origin = Listener(arguments.socket, permissions)
    else:
        origin = Fifo(arguments.fifo, permissions)

    # Records go to the real stdout; what a library prints there must not get between them.
    out = Output(os.fdopen(os.dup(1), "wb", buffering=_BUFFER_BYTES))
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, args=(origin,), name="parent", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: _end(origin))
    try:
        _hear_all(origin, raw, out)
    except BrokenPipeError:
        return 0
    except DetectorError as error:
        with contextlib.suppress(BrokenPipeError):
            out.error(str(error))
        return EXIT_FAILED
    finally:
        origin.close()
    return 0


def _hear_all(origin: Origin, raw: RawFormat | None, out: Output) -> None:
    """Hear one writer after another.

    Raises:
        DetectorError: there will be no more.
        BrokenPipeError: nobody reads any more.
    """
    for incoming in origin.writers(out):
        try:
            hear(incoming, raw, out)
        except DetectorError as error:
            origin.refuse(str(error), out)


def _end_with_parent(origin: Origin) -> None:
    """Leave as soon as stdin is closed, whatever the main thread is stuck in."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _end(origin)


def _end(origin: Origin) -> None:
    origin.close()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
