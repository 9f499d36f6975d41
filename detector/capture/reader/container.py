"""A recording that is being made, as WAV or Ogg from a program, becomes sound."""

import time

from detector.capture.containers.decode import decode
from detector.capture.containers.frames import Hole
from detector.capture.reader.incoming import Incoming
from detector.capture.reader.output import Output
from detector.capture.reader.pace import AHEAD_S, Pace


def hear_container(incoming: Incoming, out: Output) -> None:
    """Decode what comes, until it ends.

    Raises:
        AudioFileError: it cannot be decoded.
    """
    form: tuple[int, int] | None = None
    pace, heard_s, began_s = None, 0.0, time.monotonic()
    for piece in decode(incoming, "the stream", live=True):
        now_s = time.monotonic()
        if isinstance(piece, Hole):
            # What it says of time is not believed beyond the time that has gone by.
            hole_s = min(piece.seconds, now_s - began_s + AHEAD_S - heard_s)
            if hole_s <= 0:
                continue
            if form:
                out.skip(round(hole_s * form[0]))
                heard_s += hole_s
            out.note(f"{hole_s:.2f} s cannot be heard: {piece.reason}")
            continue
        if form != (form := (piece.rate, piece.samples.shape[1])) or not pace:
            out.begin(*form, piece.codec)
            pace = Pace(piece.rate, out.note)
        out.audio(piece.samples, incoming.arrived_ns)
        heard_s += len(piece.samples) / piece.rate
        time.sleep(pace.wait_s(len(piece.samples), now_s))
