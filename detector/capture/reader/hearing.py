"""The bytes of one writer become sound: records, a container, or bare samples.

What they are is seen by the first of them, never guessed: who calls bare samples what is a file
hears events that never were.
"""

import time
from typing import Final

from detector.capture.containers.sniff import HEAD_BYTES, sniff
from detector.capture.programs.framing import MAGIC, FramingError, StreamFormat
from detector.capture.reader.incoming import READ_BYTES, Incoming
from detector.capture.reader.output import Output
from detector.capture.reader.pace import Pace
from detector.capture.reader.records import TOO_OLD_S, RecordParser
from detector.capture.sound.pcm import PcmDecoder, RawFormat
from detector.errors import SourceError

_MAGIC_BYTES: Final = 16


def hear(incoming: Incoming, raw: RawFormat | None, out: Output) -> None:
    """Hear a writer until it ends.

    Args:
        incoming: its bytes.
        raw: what bare samples are, if that was said.
        out: gets the sound.

    Raises:
        SourceError: it cannot be heard, and why.
    """
    first = incoming.peek(_MAGIC_BYTES)
    if not first:
        return
    try:
        if first.startswith(MAGIC):
            _hear_records(incoming, out)
        elif sniff(first) or (raw is None and sniff(incoming.peek(HEAD_BYTES))):
            # Only who needs it loads FFmpeg's libraries: they take 20 MB.
            from detector.capture.reader.container import hear_container  # noqa: PLC0415

            hear_container(incoming, out)
        elif raw is None:
            raise SourceError(
                f"what comes begins with {first[:8]!r}, which is no recording that is known here; "
                "for bare samples, set rate, channels and sample_format"
            )
        else:
            _hear_pcm(incoming, raw, out)
    except FramingError as error:
        raise SourceError(f"the records are wrong: {error}") from None
    finally:
        out.flush()


def _hear_pcm(incoming: Incoming, raw: RawFormat, out: Output) -> None:
    decoder, pace = PcmDecoder(raw), Pace(raw.rate, out.note)
    out.begin(raw.rate, raw.channels)
    second = raw.rate * raw.frame_bytes
    # A burst is read at once, so that all of it has one time; who is made to wait is read evenly.
    while data := incoming.read(min(READ_BYTES, second) if not pace.is_ahead else second // 4):
        frames = decoder.push(data)
        out.audio(frames, incoming.arrived_ns)
        time.sleep(pace.wait_s(len(frames), time.monotonic()))


def _hear_records(incoming: Incoming, out: Output) -> None:
    parser, pace, said_old = RecordParser(), None, False
    while data := incoming.read():
        for item in parser.push(data, incoming.arrived_ns):
            if isinstance(item, StreamFormat):
                out.begin(item.rate, item.channels)
                pace = Pace(item.rate, out.note)
                continue
            if item.skipped:
                out.skip(item.skipped)
            out.audio(item.frames, item.captured_ns, after_overflow=item.after_overflow)
            if pace:
                time.sleep(pace.wait_s(len(item.frames), time.monotonic()))
        if parser.too_old and not said_old:
            said_old = True
            out.note(
                f"sound that was captured more than {TOO_OLD_S:g} s ago is left out; is the "
                "writer's clock right?"
            )
    if parser.buffered:
        raise SourceError("the writer ended in the middle of a record")
