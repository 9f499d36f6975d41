"""When a sample was captured: the machine may be suspended, and devices have a latency."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from detector.capture.clock import SampleClock
from detector.capture.microphone import InputLatency, Recorder
from detector.capture.timeline import Timeline
from detector.records import SAMPLE_RATE, AudioBlock, Gap, to_samples

FRAMES = SAMPLE_RATE // 10
HOUR_S = 3600.0
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Machine:
    """All clocks of a machine that can be suspended, as the operating system would give them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._awake_s, self._suspended_s = 1000.0, 500.0
        self._wall_offset_s = NOON.timestamp() - 1500
        for name, read in {"time": self.wall, "monotonic": self.monotonic}.items():
            patch.setattr(time, name, read)
            patch.setattr(time, f"{name}_ns", lambda read=read: round(read() * 1e9))
        patch.setattr(time, "clock_gettime", self.clock)
        patch.setattr(time, "clock_gettime_ns", lambda clock: round(self.clock(clock) * 1e9))

    def run(self, seconds: float) -> None:
        self._awake_s += seconds

    def suspend(self, seconds: float) -> None:
        self._suspended_s += seconds

    def monotonic(self) -> float:
        return self._awake_s

    def wall(self) -> float:
        return self._wall_offset_s + self._awake_s + self._suspended_s

    def clock(self, clock: int) -> float:
        if clock == time.CLOCK_BOOTTIME:
            return self._awake_s + self._suspended_s
        return self.wall() if clock == time.CLOCK_REALTIME else self._awake_s


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with monkeypatch.context() as patch:
        yield Machine(patch)


class Source:
    """A device at the microphone program's callback, and the daemon's end of the pipe."""

    def __init__(self, machine: Machine, latency_s: float | None = 0.0) -> None:
        self.clock = SampleClock()
        self.items: list[AudioBlock | Gap] = []
        self._machine = machine
        self._latency_s = latency_s
        self._recorder = Recorder(SAMPLE_RATE, FRAMES)
        self._timeline = Timeline(self.clock)
        self._timeline.begin(SAMPLE_RATE)

    def capture(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self._machine.run(0.1)
            now = self._machine.monotonic()
            began = 0.0 if self._latency_s is None else now - self._latency_s - 0.1
            times = SimpleNamespace(inputBufferAdcTime=began, currentTime=now)
            overflow = SimpleNamespace(input_overflow=False)
            self._recorder.callback(bytes(4 * FRAMES), FRAMES, times, overflow)
            block = self._recorder.get(1)
            assert block
            header, data = block
            self.items += self._timeline.push(header, np.frombuffer(data, np.float32))

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]


@pytest.mark.parametrize("suspended_s", [0.7, HOUR_S])
def test_a_suspension_is_a_gap_of_its_length_and_the_times_before_it_stay_right(
    machine: Machine, suspended_s: float
) -> None:
    source = Source(machine)
    source.capture(5)
    machine.suspend(suspended_s)
    source.capture(5)
    [gap] = source.gaps
    assert gap.reason == "stall"
    assert gap.first_sample == to_samples(5)
    # After a long one, the first block is not believed either.
    assert gap.seconds == pytest.approx(suspended_s, abs=0.11)
    moment = timedelta(milliseconds=1)
    assert abs(source.clock.utc(0) - NOON) < moment
    assert abs(source.clock.utc(to_samples(5)) - NOON - timedelta(seconds=5)) < moment
    end = source.items[-1].end_sample
    assert abs(source.clock.utc(end) - NOON - timedelta(seconds=10 + suspended_s)) < moment


def test_a_time_leads_back_to_its_sample_over_a_suspension(machine: Machine) -> None:
    source = Source(machine)
    source.capture(5)
    machine.suspend(HOUR_S)
    source.capture(1)
    for seconds in (1, 3600):
        sample = source.clock.sample_at_utc(NOON + timedelta(seconds=seconds))
        assert sample == pytest.approx(to_samples(seconds), abs=16)


@pytest.mark.parametrize("latency_s", [0.0, 0.05, 0.4])
def test_samples_are_timed_by_when_the_device_converted_them(
    machine: Machine, latency_s: float
) -> None:
    source = Source(machine, latency_s)
    source.capture(3)
    assert not source.gaps
    heard = NOON - timedelta(seconds=latency_s)
    assert abs(source.clock.utc(0) - heard) < timedelta(milliseconds=1)


def test_without_a_time_from_the_device_the_callback_counts(machine: Machine) -> None:
    source = Source(machine, None)
    source.capture(3)
    assert abs(source.clock.utc(0) - NOON) < timedelta(milliseconds=1)


def latency(*times: tuple[float, float]) -> float:
    """What is made of (time of the first frame, time of the callback), a block of 0.1 s each."""
    found = InputLatency(SAMPLE_RATE)
    for began, now in times:
        latest = found.update(SimpleNamespace(inputBufferAdcTime=began, currentTime=now), FRAMES)
    return latest


@pytest.mark.parametrize(
    ("began", "now"),
    [
        (0.0, 0.0),
        (0.0, 100.0),
        (0.0, 0.5),
        (-1.0, 0.5),
        (math.nan, 100.0),
        (99.8, math.nan),
        (math.inf, 100.0),
        (99.8, math.inf),
        (100.05, 100.0),
        (200.0, 100.0),
        (90.0, 100.0),
    ],
)
def test_times_that_make_no_sense_are_not_believed(began: float, now: float) -> None:
    assert latency((began, now)) == 0
    assert latency((99.8, 100.0), (began, now)) == pytest.approx(0.1), "nor do they change it"


def test_a_backlog_is_not_taken_for_latency() -> None:
    assert latency((99.8, 100.0), (99.9, 102.0), (100.0, 102.0)) == pytest.approx(0.1)


def test_a_latency_that_grew_is_followed() -> None:
    steady = [(100 + i / 10, 100.3 + i / 10) for i in range(100)]
    assert latency((99.0, 99.2), *steady) == pytest.approx(0.2)


def test_sound_that_a_server_made_ahead_of_its_time_has_no_latency() -> None:
    assert latency((99.95, 100.0)) == 0
