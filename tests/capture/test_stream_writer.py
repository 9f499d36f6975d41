"""What is decoded becomes records: in blocks, at its time, and no faster than it can be taken."""

import io
import struct
import time

import pytest

from detector.boottime import boottime
from detector.capture.programs.framing import (
    HEADER_BYTES,
    Header,
    Kind,
    StreamFormat,
    payload_bytes,
    unpack_format,
    unpack_header,
)
from detector.capture.stream.clock import StreamClock
from detector.capture.stream.writer import AHEAD_S, CATCH_UP, SETTLE_S, Writer

STREAM = StreamFormat(8000, 2, "pcm_alaw")
FRAME_S = 0.02


class Written:
    """A writer that is given frames of a stream, and what it writes."""

    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.clock = StreamClock()
        self.writer = Writer(self.out, STREAM, self.clock)
        self._stamp_s = 0.0
        self._value = 0

    def frames(self, seconds: float, arrived_s: float, missing_s: float = 0.0) -> None:
        """Sound that arrives at once; each sample has another value."""
        self._stamp_s += missing_s
        for _ in range(round(seconds / FRAME_S)):
            missing_s = self.clock.place(self._stamp_s, FRAME_S, arrived_s)
            count = round(FRAME_S * STREAM.rate) * STREAM.channels
            samples = struct.pack(f"<{count}f", *range(self._value, self._value + count))
            self._value += count
            self.writer.write(samples, missing_s, arrived_s)
            self._stamp_s += FRAME_S

    def records(self) -> list[tuple[Header, bytes]]:
        data, found = self.out.getvalue(), []
        while data:
            header = unpack_header(data[:HEADER_BYTES])
            end = HEADER_BYTES + payload_bytes(header, STREAM.channels)
            found.append((header, data[HEADER_BYTES:end]))
            data = data[end:]
        return found


def test_frames_become_blocks_of_a_tenth_of_a_second_in_order() -> None:
    written = Written()
    now_s = boottime()
    written.frames(3.0, now_s - SETTLE_S)
    (form, payload), *blocks = written.records()
    assert (form.kind, unpack_format(payload)) == (Kind.FORMAT, STREAM)
    assert {header.size for header, _ in blocks} == {800}
    assert [header.first_sample for header, _ in blocks] == list(range(0, 24_000, 800))
    values = struct.unpack("<48000f", b"".join(payload for _, payload in blocks))
    assert values == tuple(range(48_000))


def test_a_burst_was_heard_before_it_came() -> None:
    written = Written()
    now_s = boottime()
    written.frames(2.0, now_s)
    assert len(written.records()) == 1  # not before it is known that it is one
    time.sleep(SETTLE_S)
    written.writer.settle()
    captured_s = [header.captured_ns / 1e9 for header, _ in written.records()[1:]]
    assert captured_s == pytest.approx([now_s - 1.9 + 0.1 * i for i in range(20)], abs=1e-6)


def test_what_is_missing_has_its_place() -> None:
    written = Written()
    now_s = boottime() - SETTLE_S
    written.frames(0.94, now_s)
    written.frames(0.5, now_s + 2.0, missing_s=1.5)
    headers = [header for header, _ in written.records()[1:]]
    ends = [header.first_sample + header.size for header in headers]
    begins = [header.first_sample for header in headers[1:]]
    assert [begin - end for end, begin in zip(ends, begins, strict=False) if end != begin] == [
        12_000
    ]
    assert 7520 in ends


def test_a_long_burst_is_not_written_faster_than_the_models_may_take_it() -> None:
    written = Written()
    began_s = boottime()
    written.frames(AHEAD_S + 3.0, began_s - SETTLE_S)
    assert boottime() - began_s == pytest.approx(3.0 / CATCH_UP, abs=0.5)
