"""A program of its own: the sound of a camera or another stream becomes records on stdout.

It is a process because FFmpeg can hang or crash on what a camera sends. One thread opens and reads
the stream (`input.py`), the main one decodes, writes, and watches the other. It never tries
again: it says why it ends, and whoever started it starts it again. What it is to open comes as the
first line of its stdin (`request.py`); it ends when its stdin or stdout is closed.

It loads neither NumPy nor pydantic, which take as much memory as all the rest.
"""

import os
import queue
import threading
from typing import BinaryIO, Final, Literal

import av

from detector.boottime import boottime
from detector.capture.programs.framing import (
    Kind,
    StreamFormat,
    pack_error,
    pack_waiting,
)
from detector.capture.stream.clock import StreamClock
from detector.capture.stream.errors import StreamError, no_answer
from detector.capture.stream.input import Arrival, StreamInput
from detector.capture.stream.request import MOST_PATIENCE_S, StreamRequest
from detector.capture.stream.writer import Writer
from detector.errors import DetectorError, RefusedError

PATIENCE_S: Final = 5.0
"""How long nothing may come."""
BURSTS: Final = 3
"""The same, in bursts, for a stream that comes in bursts: HLS."""
USUAL: Final = 1.5
"""A pause as long as so many bursts is usual for such a stream."""
WATCH_S: Final = 0.5
"""How often a silent stream is looked at."""


class Converter:
    """Decoded frames ─► interleaved float32, in the format of the first one, whatever follows."""

    def __init__(self, first: av.AudioFrame, codec: str) -> None:
        self.format = StreamFormat(first.sample_rate, len(first.layout.channels), codec)
        self._layout = first.layout.name
        self._form: tuple[int, str, str] | None = None

    def convert(self, frame: av.AudioFrame) -> bytes:
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        if form != self._form:
            self._form = form
            self._resampler = av.AudioResampler("flt", self._layout, self.format.rate)
        converted = self._resampler.resample(frame)
        size = 4 * self.format.channels
        return b"".join(bytes(part.planes[0])[: part.samples * size] for part in converted)


class Listener:
    """Decodes a stream and writes it, as long as it comes."""

    def __init__(self, request: StreamRequest, out: BinaryIO) -> None:
        self._request, self._out = request, out
        self._clock = StreamClock()
        self._converter: Converter | None = None
        self._writer: Writer | None = None
        self._codec = ""
        self._heard_s = self._came_s = boottime()

    def run(self) -> None:
        """Write records until the stream ends.

        Raises:
            DetectorError: why it has ended.
            BrokenPipeError: nobody reads any more.
        """
        stream = StreamInput(self._request)
        while True:
            try:
                arrival = stream.get(WATCH_S)
            except queue.Empty:
                pass
            else:
                self._take(arrival)
            self._watch()

    def _take(self, arrival: Arrival) -> None:
        self._came_s = boottime()
        codec = arrival.packet.stream.codec_context
        self._codec = codec.name
        try:
            frames = codec.decode(arrival.packet)
        except av.error.FFmpegError:
            return  # damaged: what is missing shows by the time stamp of what follows
        for frame in frames:
            self._heard_s = boottime()
            if self._converter is None or self._writer is None:
                self._converter = Converter(frame, codec.name)
                self._writer = Writer(self._out, self._converter.format, self._clock)
            stamp_s = None if frame.time is None else float(frame.time)
            duration_s = frame.samples / frame.sample_rate
            missing_s = self._clock.place(stamp_s, duration_s, arrival.at_s)
            self._writer.write(self._converter.convert(frame), missing_s, arrival.at_s)

    def _watch(self) -> None:
        """Look at a stream from which nothing comes.

        Raises:
            StreamError: it has not come for too long.
        """
        silent_s, burst_s = boottime() - self._heard_s, self._clock.burst_s
        patience_s = min(max(PATIENCE_S, BURSTS * burst_s), MOST_PATIENCE_S)
        place = self._request.place
        if self._writer is None:
            if silent_s > max(self._request.timeout_s, PATIENCE_S):
                raise no_answer(self._request) if not self._codec else self._undecodable()
            return
        self._writer.settle()
        if silent_s > patience_s and self._came_s > self._heard_s:
            raise self._undecodable()
        if silent_s > patience_s:
            raise StreamError(f"{place}: nothing has come for {patience_s:.0f} s")
        if WATCH_S <= silent_s < USUAL * burst_s:
            self._out.write(pack_waiting())
            self._out.flush()

    def _undecodable(self) -> StreamError:
        return StreamError(
            f"{self._request.place} sends sound ({self._codec}) that cannot be decoded: choose "
            "AAC, G.711 or Opus in its settings"
        )


def _read_request() -> StreamRequest:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 4096)
        if not piece:
            os._exit(0)
        line += piece
    return StreamRequest.from_line(line)


def _end_with_parent() -> None:
    """Leave as soon as stdin is closed, whatever the other threads are stuck in."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def _write_error(out: BinaryIO, why: str, kind: Literal[Kind.ERROR, Kind.REFUSED]) -> None:
    out.write(pack_error(why, kind))
    out.flush()


def main() -> None:
    # What a library prints must not get between the records.
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)
    request = _read_request()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        try:
            Listener(request, out).run()
        except RefusedError as error:
            _write_error(out, str(error), Kind.REFUSED)
        except DetectorError as error:
            _write_error(out, str(error), Kind.ERROR)
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main()
    os._exit(0)  # tidying up can hang
