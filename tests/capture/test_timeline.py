"""Samples carry the time at which they were really heard, so every index can be checked."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.capture.clock import SampleClock
from detector.capture.framing import FramingError, Header, Kind
from detector.capture.timeline import STALL_S, Timeline
from detector.errors import SourceError
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Gap

BLOCK_S = 0.1
SCALE = 2**-22
"""Makes sample values of the same size as sound; exact in float32."""


class Device:
    """A device, its sound server and the microphone program, in a time of their own."""

    def __init__(self, rate: int = SAMPLE_RATE, jitter_s: float = 0.002, seed: int = 0) -> None:
        self.clock = SampleClock()
        self.timeline = Timeline(self.clock)
        self.items: list[AudioBlock | Gap] = []
        self.cuts: list[int] = []
        self.now = 50.0
        """Real time; sound that is heard at this moment has the value (now - 50) * 16000."""
        self.dropped = 0
        self._index = 0
        self._rate = rate
        self._jitter_s = jitter_s
        self._random = np.random.default_rng(seed)

    def begin(self) -> None:
        self._index = 0
        self.timeline.begin(self._rate)

    def pause(self) -> None:
        """Nobody has heard anything for a while."""
        self._take(self.timeline.pause())
        assert self.cuts[-1] == self.timeline.end_sample

    def finish(self) -> None:
        self._take(self.timeline.finish())
        assert self.cuts[-1] == self.timeline.end_sample

    def hear(
        self,
        seconds: float,
        *,
        not_before: float = 0.0,
        kind: Kind = Kind.AUDIO,
        spoil: float | None = None,
    ) -> None:
        """Deliver what sounds now, or when the server gets to it; or this value in its place."""
        for _ in range(round(seconds / BLOCK_S)):
            frames = round(BLOCK_S * self._rate)
            at = self.now + np.arange(frames) / self._rate
            self.now += BLOCK_S
            captured = max(self.now + self._random.exponential(self._jitter_s), not_before)
            header = Header(kind, self._index, round(captured * 1e9), self.dropped, frames)
            self._index += frames
            samples = ((at - 50.0) * SAMPLE_RATE * SCALE).astype(np.float32)
            if spoil is not None:
                samples[:] = spoil
            self._take(self.timeline.push(header, samples))
            kind = Kind.AUDIO

    def lose(self, seconds: float) -> None:
        """Time passes, and nobody knows of its sound."""
        self.now += seconds

    def drop(self, seconds: float) -> None:
        """The microphone program drops what it heard, and counts it."""
        self._index += round(seconds * self._rate)
        self.dropped += round(seconds * self._rate)
        self.now += seconds

    def _take(self, items: Iterable[AudioBlock | Gap | Cut]) -> None:
        for item in items:
            end = self.items[-1].end_sample if self.items else 0
            if isinstance(item, Cut):
                assert item.end_sample == end
                self.cuts.append(end)
                continue
            assert item.first_sample == end
            assert item.end_sample > item.first_sample
            self.items.append(item)

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    @property
    def reasons(self) -> list[str]:
        return [gap.reason for gap in self.gaps]

    @property
    def lost_s(self) -> float:
        return sum(gap.length for gap in self.gaps) / SAMPLE_RATE

    def clock_error_s(self) -> float:
        """How far the clock is from the time at which the last sample was heard."""
        return abs(self.clock.captured_at(self.timeline.end_sample) - self.now)

    def worst_error_s(self) -> float:
        """How far a sample's index is from the time at which it was heard."""
        worst = 0.0
        for item in self.items:
            if isinstance(item, AudioBlock) and len(item.samples) > 800:
                inside = item.samples[400:-400]  # away from the resampler's edges
                heard = inside.astype(np.float64) / SCALE
                index = np.arange(item.first_sample + 400, item.end_sample - 400)
                worst = max(worst, float(np.abs(index - heard).max()) / SAMPLE_RATE)
        return worst


def test_an_undisturbed_stream_comes_out_as_it_went_in() -> None:
    device = Device(jitter_s=0.0)
    device.begin()
    device.hear(5)
    assert [len(item.samples) for item in device.items if isinstance(item, AudioBlock)] == [
        1600
    ] * 50
    assert not device.gaps
    assert device.worst_error_s() == 0


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_another_rate_keeps_every_sample_at_its_time(rate: int) -> None:
    device = Device(rate)
    device.begin()
    device.hear(5)
    device.finish()
    assert device.timeline.end_sample == 5 * SAMPLE_RATE
    assert device.worst_error_s() < 1 / SAMPLE_RATE
    assert not device.gaps


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_the_program_dropped_is_an_exact_gap(rate: int) -> None:
    device = Device(rate, jitter_s=0.0)
    device.begin()
    device.hear(2)
    device.drop(1.5)
    device.hear(2)
    assert device.reasons == ["overflow"]
    assert device.gaps[0].length == pytest.approx(1.5 * SAMPLE_RATE, abs=1)
    assert device.worst_error_s() < 2 / SAMPLE_RATE


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e15])
def test_what_is_no_sound_is_a_gap_and_all_else_is_untouched(rate: int, value: float) -> None:
    device = Device(rate, jitter_s=0.0)
    device.begin()
    device.hear(2)
    device.hear(0.2, spoil=value)
    device.hear(2)
    device.finish()
    assert device.reasons == ["not_finite"]
    assert device.gaps[0].first_sample == pytest.approx(2 * SAMPLE_RATE, abs=1)
    assert device.lost_s == pytest.approx(0.2, abs=2 / SAMPLE_RATE)
    assert device.worst_error_s() < 2 / SAMPLE_RATE
    assert device.clock_error_s() < 2 / SAMPLE_RATE


def test_what_the_sound_system_lost_without_counting_is_measured() -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.lose(0.08)
    device.hear(3, kind=Kind.AUDIO_AFTER_OVERFLOW)
    assert device.reasons == ["overflow"]
    assert device.lost_s == pytest.approx(0.08, abs=0.005)
    assert device.worst_error_s() < 0.005


def test_an_overflow_that_lost_nothing_is_no_gap() -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.hear(2, kind=Kind.AUDIO_AFTER_OVERFLOW)
    assert not device.gaps
    assert device.timeline.end_sample == 4 * SAMPLE_RATE


@pytest.mark.parametrize("delay_s", [0.3, 1.0, 1.9])
def test_a_short_delay_that_is_made_up_for_loses_nothing(delay_s: float) -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.hear(delay_s, not_before=device.now + delay_s)
    device.hear(2)
    assert not device.gaps
    assert device.worst_error_s() < 0.001


@pytest.mark.parametrize("lost_s", [0.3, 1.0, 6.0])
def test_a_stall_whose_sound_is_lost_is_a_gap_of_its_length(lost_s: float) -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.lose(lost_s)
    device.hear(3)
    assert device.reasons == ["stall"]
    # After a long one, the first block is not believed either.
    assert device.lost_s == pytest.approx(lost_s, abs=0.11 if lost_s > STALL_S else 0.005)
    assert device.worst_error_s() < 0.005


@pytest.mark.parametrize("stall_s", [2.5, 6.0])
def test_the_burst_after_a_long_stall_is_a_gap_and_skews_nothing(stall_s: float) -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.hear(stall_s, not_before=device.now + stall_s)
    device.hear(3)
    assert device.reasons == ["stall"]
    assert device.lost_s == pytest.approx(stall_s, abs=0.15)
    assert device.worst_error_s() < 0.001
    assert device.clock_error_s() < 0.01


def test_a_burst_of_a_part_of_the_stall_skews_nothing_either() -> None:
    device = Device()
    device.begin()
    device.hear(2)
    resumed = device.now + 5
    device.hear(2, not_before=resumed)
    device.lose(3)
    device.hear(3)
    assert device.reasons == ["stall"]
    assert device.lost_s == pytest.approx(5, abs=0.15)
    assert device.worst_error_s() < 0.005


@pytest.mark.parametrize("away_s", [0.0, 3.3, 7200.0])
def test_a_restart_is_a_gap_as_long_as_it_took(away_s: float) -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.finish()
    device.lose(away_s)
    device.begin()
    device.hear(2)
    device.finish()
    assert set(device.reasons) <= {"restart"}
    assert device.lost_s == pytest.approx(away_s, abs=0.01)
    assert device.clock_error_s() < 0.01


def test_a_stream_that_ends_while_in_doubt_gives_what_it_had() -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.lose(1)
    device.hear(0.2)
    assert device.timeline.end_sample == 2 * SAMPLE_RATE
    device.finish()
    assert device.reasons == ["stall"]
    assert device.timeline.end_sample == pytest.approx(3.2 * SAMPLE_RATE, abs=200)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_device_that_pauses_gives_all_that_it_had_and_is_cut_there(rate: int) -> None:
    device = Device(rate)
    device.begin()
    device.hear(2)
    device.pause()
    assert device.timeline.end_sample == device.cuts[0] == 2 * SAMPLE_RATE
    device.pause()
    device.finish()
    assert set(device.cuts) == {2 * SAMPLE_RATE}
    assert not device.gaps


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_pause_that_lost_nothing_is_no_gap(rate: int) -> None:
    device = Device(rate)
    device.begin()
    device.hear(2)
    device.pause()
    device.hear(1.9, not_before=device.now + 1.9)
    device.hear(2)
    device.finish()
    assert device.cuts == [2 * SAMPLE_RATE, device.timeline.end_sample]
    assert not device.gaps
    assert device.worst_error_s() < 2 / SAMPLE_RATE


def test_the_gap_after_a_pause_begins_where_it_was_cut() -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.pause()
    device.lose(6)
    device.hear(3)
    [gap] = device.gaps
    assert (gap.first_sample, gap.reason) == (2 * SAMPLE_RATE, "stall")
    assert gap.length / SAMPLE_RATE == pytest.approx(6, abs=0.11)
    assert device.cuts == [gap.first_sample]
    assert device.worst_error_s() < 0.005


def test_a_device_that_pauses_while_in_doubt_gives_what_it_had() -> None:
    device = Device()
    device.begin()
    device.hear(2)
    device.lose(1)
    device.hear(0.2)
    device.pause()
    assert device.reasons == ["stall"]
    assert device.cuts[0] == pytest.approx(3.2 * SAMPLE_RATE, abs=200)
    device.lose(5)
    device.hear(3)
    assert device.reasons == ["stall", "stall"]
    assert device.lost_s == pytest.approx(6, abs=0.11)
    assert device.worst_error_s() < 0.005


def test_nothing_is_kept_pending_without_bound() -> None:
    device = Device(jitter_s=0.0)
    device.begin()
    device.hear(2)
    device.hear(30, not_before=device.now + 31)
    assert len(device.timeline._pending) <= 101


steps = st.one_of(
    st.tuples(st.just("hear"), st.floats(1.0, 4.0)),
    st.tuples(st.just("drop"), st.floats(0.001, 3.0)),
    st.tuples(st.just("lose"), st.floats(0.3, 6.0)),
    st.tuples(st.just("burst"), st.floats(0.2, 6.0)),
    st.tuples(st.just("partial burst"), st.floats(STALL_S + 0.2, 6.0)),
    st.tuples(st.just("restart"), st.floats(0.0, 5.0)),
)
pauses = st.tuples(st.booleans(), st.booleans())
"""Before the step, and soon after it."""


@given(
    st.lists(st.tuples(steps, pauses), max_size=8),
    st.sampled_from([16_000, 44_100]),
    st.integers(0, 99),
)
def test_whatever_happens_every_sample_stays_at_its_time(
    steps: list[tuple[tuple[str, float], tuple[bool, bool]]], rate: int, seed: int
) -> None:
    device = Device(rate, seed=seed)
    device.begin()
    device.hear(2)
    for (step, seconds), (paused_before, paused_after) in steps:
        if paused_before:
            device.pause()
        if step == "drop":
            device.drop(seconds)
        elif step == "lose":
            device.lose(seconds)
        elif step == "burst":
            device.hear(seconds, not_before=device.now + seconds)
        elif step == "partial burst":
            resumed = device.now + seconds
            device.hear(seconds / 3, not_before=resumed)
            device.lose(resumed - device.now)
        elif step == "restart":
            device.finish()
            device.lose(seconds)
            device.begin()
        if paused_after:
            device.hear(0.3)
            device.pause()
        device.hear(1.5)
    device.finish()
    assert device.worst_error_s() < 0.03
    assert device.timeline.end_sample / SAMPLE_RATE == pytest.approx(device.now - 50, abs=0.03)


def test_blocks_that_overlap_are_refused() -> None:
    timeline = Timeline(SampleClock())
    timeline.begin(SAMPLE_RATE)
    samples = np.zeros(1600, np.float32)
    list(timeline.push(Header(Kind.AUDIO, 0, 10**9, 0, 1600), samples))
    with pytest.raises(FramingError, match="begins at sample 1599, before the end"):
        list(timeline.push(Header(Kind.AUDIO, 1599, 11 * 10**8, 0, 1600), samples))


def test_audio_without_a_format_is_refused() -> None:
    timeline = Timeline(SampleClock())
    assert not list(timeline.finish())
    with pytest.raises(FramingError, match="before the format"):
        list(timeline.push(Header(Kind.AUDIO, 0, 0, 0, 0), np.zeros(0, np.float32)))


def test_a_device_with_an_impossible_rate_is_refused() -> None:
    with pytest.raises(SourceError, match="4000 Hz is not supported"):
        Timeline(SampleClock()).begin(4000)
