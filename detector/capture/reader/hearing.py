"""The bytes of one writer become sound: records, a container, or bare samples.

What they are is seen by the first of them, never guessed: who calls bare samples what is a file
hears events that never were.
"""

import time

from detector.capture.framing import MAGIC, FramingError, StreamFormat
from detector.capture.pcm import PcmDecoder, RawFormat
from detector.capture.reader.incoming import Incoming
from detector.capture.reader.output import Output
from detector.capture.reader.pace import Pace
from detector.capture.reader.records import TOO_OLD_S, RecordParser
from detector.errors import SourceError

SNIFFED_BYTES = 16


def hear(incoming: Incoming, raw: RawFormat | None, out: Output) -> None:
    """Hear a writer until it ends.

    Args:
        incoming: its bytes.
        raw: what bare samples are, if that was said.
        out: gets the sound.

    Raises:
        SourceError: it cannot be heard, and why.
    """
    first = incoming.peek(SNIFFED_BYTES)
    if not first:
        return
    try:
        if first.startswith(MAGIC):
            _hear_records(incoming, out)
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
    while data := incoming.read():
        frames = decoder.push(data)
        out.audio(frames, incoming.arrived_ns)
        time.sleep(pace.wait_s(len(frames), time.monotonic()))


def _hear_records(incoming: Incoming, out: Output) -> None:
    parser, pace, said_old = RecordParser(), None, False
    while data := incoming.read():
        wait_s = 0.0
        for item in parser.push(data, incoming.arrived_ns):
            if isinstance(item, StreamFormat):
                out.begin(*item)
                pace = Pace(item.rate, out.note)
                continue
            if item.skipped:
                out.skip(item.skipped)
            out.audio(item.frames, item.captured_ns, after_overflow=item.after_overflow)
            if pace:
                wait_s = pace.wait_s(len(item.frames), time.monotonic())
        if parser.too_old and not said_old:
            said_old = True
            out.note(
                f"sound that was captured more than {TOO_OLD_S:g} s ago is left out; is the "
                "writer's clock right?"
            )
        time.sleep(wait_s)
    if parser.buffered:
        raise SourceError("the writer ended in the middle of a record")
