"""Time stamps and arrivals ─► what is missing, and when it was heard."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.stream.clock import StreamClock

FRAME_S = 0.02
HEARD_S = 1000.0
"""When a camera began to listen, on the boottime clock."""


class Stream:
    """A camera and its network: each frame has a stamp, and comes at some time."""

    def __init__(self) -> None:
        self.clock = StreamClock()
        self.heard_s = 0.0
        """How long the camera has listened."""
        self.stamp_s = 77.0
        """What it stamps the next frame with."""
        self.missing: list[float] = []

    def send(self, seconds: float, delay_s: float = 0.05, *, drift: float = 0.0) -> None:
        """Frames that are heard one after the other and each come after the same time."""
        for _ in range(round(seconds / FRAME_S)):
            self.heard_s += FRAME_S
            self._place(HEARD_S + self.heard_s + delay_s)
            self.stamp_s += FRAME_S * (1 + drift)

    def send_at_once(self, seconds: float, delay_s: float = 0.05) -> None:
        """A segment of HLS: all of it comes when its last frame does."""
        self.heard_s += seconds
        for _ in range(round(seconds / FRAME_S)):
            self._place(HEARD_S + self.heard_s + delay_s)
            self.stamp_s += FRAME_S

    def lose(self, seconds: float) -> None:
        """The camera hears, and the network loses it."""
        self.heard_s += seconds
        self.stamp_s += seconds

    def error_s(self) -> float:
        """By how much the last frame is said to have been heard too late."""
        return self.clock.captured_s(self.clock.end_s) - (HEARD_S + self.heard_s)

    def _place(self, arrived_s: float) -> None:
        missing_s = self.clock.place(self.stamp_s, FRAME_S, arrived_s)
        if missing_s:
            self.missing.append(missing_s)


def test_a_frame_was_heard_as_long_before_it_came_as_the_quickest_one() -> None:
    stream = Stream()
    for delay_s in (0.2, 0.05, 0.11, 0.3):
        stream.send(0.5, delay_s)
    assert stream.error_s() == pytest.approx(0.05)
    assert not stream.missing


def test_segments_that_come_at_once_were_heard_one_after_the_other() -> None:
    stream = Stream()
    for delay_s in (0.9, 0.3, 0.8, 0.4, 0.6):
        stream.send_at_once(6.0, delay_s)
    assert stream.error_s() == pytest.approx(0.3)
    assert not stream.missing
    assert stream.clock.burst_s == pytest.approx(6.0, abs=0.7)


def test_what_was_lost_on_the_way_is_missing() -> None:
    stream = Stream()
    stream.send(1.0)
    stream.lose(2.5)
    stream.send(1.0)
    stream.lose(0.06)
    stream.send(1.0)
    assert stream.missing == pytest.approx([2.5, 0.06])
    assert stream.error_s() == pytest.approx(0.05)


@pytest.mark.parametrize("jump_s", [-77.0, -0.6, 0.5, 9.0, 90_000.0])
def test_stamps_that_are_counted_anew_tell_of_no_loss(jump_s: float) -> None:
    """What would have come before it was heard was not lost either."""
    stream = Stream()
    stream.send(2.0)
    stream.stamp_s += jump_s
    stream.send(2.0)
    assert not stream.missing
    assert stream.error_s() == pytest.approx(0.05)


@given(st.lists(st.floats(-0.02, 0.02), min_size=10, max_size=100))
def test_stamps_that_tremble_tell_of_no_loss(trembling: list[float]) -> None:
    stream = Stream()
    for tremor_s, before_s in itertools.pairwise(trembling):
        stream.stamp_s += tremor_s - before_s
        stream.send(FRAME_S)
    assert not stream.missing


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_clock_that_is_wrong_is_followed(drift: float) -> None:
    stream = Stream()
    stream.send(600, drift=drift)
    assert stream.error_s() == pytest.approx(0.05, abs=0.01)


def test_stamps_that_are_much_too_slow_are_not_believed() -> None:
    """Those of a stream whose rate has changed, as FFmpeg counts them for raw AAC."""
    stream = Stream()
    stream.send(5.0)
    stream.send(30.0, drift=-0.64)
    assert not stream.missing
    assert -0.6 < stream.error_s() < 0.1


def test_a_stream_without_stamps_goes_on_where_it_was() -> None:
    clock = StreamClock()
    arrivals: Iterable[float] = (1000.1, 1000.2, 1000.3)
    assert [clock.place(None, 0.1, arrived_s) for arrived_s in arrivals] == [0, 0, 0]
    assert clock.end_s == pytest.approx(0.3)
    assert clock.captured_s(0.3) == pytest.approx(1000.3)
