"""The state machine of a label: hysteresis, durations, pauses, updates, cuts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.events.scores.steps import ClipSteps, FrameSteps, MedianSteps, Steps
from detector.events.segments.label_rules import LabelRule
from detector.records import SAMPLE_RATE, Cut, Event, Scores
from detector.spec import FramesOutput
from tests.events.scores import (
    Segment,
    clip,
    frames,
    lives,
    plain_frames,
    rule,
    run,
    segmenter,
    tagger,
    times,
)

END = 10**6


def hops(*scores: float) -> list[Scores]:
    """Frames of 100 samples, one a window."""
    return [frames(100 * i, 100 * (i + 1), [score]) for i, score in enumerate(scores)]


def cut(*scores: float) -> list[Scores | Cut]:
    return [*hops(*scores), Cut(100 * len(scores))]


def heard(*scores: float, limits: LabelRule | None = None) -> list[tuple[int, int]]:
    """The segments in hops of 100 samples."""
    found = times(run(segmenter(plain_frames(), limits or rule()), cut(*scores)))
    return [(onset // 100, offset // 100) for onset, offset in found]


def test_a_sound_lasts_from_its_first_to_its_last_frame() -> None:
    assert heard(0, 0, 1, 1, 1, 0) == [(2, 5)]


def test_it_needs_the_onset_threshold_and_lasts_while_it_is_above_the_offset_threshold() -> None:
    assert heard(0.29, 0.5, 0.3, 0.49, 0.29, 0.49) == [(1, 4)]
    assert heard(0.3, 0.49, 0.49) == []


def test_it_begins_where_the_score_of_its_frames_rose() -> None:
    assert heard(0.49, 0.29, 0.3, 0.49, 0.5, 0.29) == [(2, 5)]


def test_a_rise_that_lasts_longer_than_a_second_is_not_its_beginning() -> None:
    slow = [0.4] * 400 + [0.5, 0]
    assert len(slow) > SAMPLE_RATE // 100
    assert heard(*slow) == [(400, 401)]


def test_a_rise_after_a_short_pause_goes_on_with_the_segment() -> None:
    scores = [0.9] * 25 + [0.1] * 5 + [0.4] * 25 + [0.9] * 25
    assert heard(*scores, limits=rule(merge_samples=1000)) == [(0, 80)]
    assert heard(*scores, limits=rule(merge_samples=500)) == [(0, 25), (30, 80)]


def test_nothing_begins_before_what_is_known() -> None:
    machine = segmenter(plain_frames(), rule())
    known: list[int] = []
    for answer in cut(0.1, 0.4, 0.4, 0.9, 0.1, 0.4, 0.1):
        events = run(machine, [answer])
        assert all(e.onset_sample >= max(known, default=0) for e in events if e.type == "start")
        known.append(machine.tracker.known_until)
    assert known[:3] == [0, 100, 100]  # a frame is certain when the next has come
    assert known == sorted(known)


def test_a_score_of_a_window_tells_nothing_of_when_the_sound_rose() -> None:
    answers = [clip(100 * i, s, new=100) for i, s in enumerate((0, 0.4, 0.4, 0.5, 0), 1)]
    start, _ = run(segmenter(tagger(), rule()), answers)
    assert start.onset_sample == 300


def test_thresholds_are_compared_as_the_scores_are_written() -> None:
    """0.1 and 0.7 are no exact binary fractions: rounding must not decide."""
    assert heard(0.7, 0.1, 0, limits=rule(onset_threshold=0.7, offset_threshold=0.1)) == [(0, 2)]


def test_equal_thresholds_work_without_hysteresis() -> None:
    assert heard(0.5, 0.49, 0.5, limits=rule(offset_threshold=0.5)) == [(0, 1), (2, 3)]


@pytest.mark.parametrize(("least", "expected"), [(200, [(1, 3)]), (201, []), (0, [(1, 3)])])
def test_a_sound_shorter_than_the_minimum_is_no_event(
    least: int, expected: list[tuple[int, int]]
) -> None:
    assert heard(0, 1, 1, 0, limits=rule(min_samples=least)) == expected


def test_a_start_is_told_when_the_minimum_is_reached_not_later() -> None:
    machine = segmenter(plain_frames(), rule(min_samples=250))
    told = [[event.type for event in machine.push(answer)] for answer in hops(1, 1, 1, 1)]
    # A frame is certain when the next hop has begun to vote on what comes after it.
    assert told.index(["start"]) - 1 == 2


@pytest.mark.parametrize(
    ("pause", "expected"), [(201, [(0, 5)]), (200, [(0, 1), (3, 5)]), (0, [(0, 1), (3, 5)])]
)
def test_a_pause_shorter_than_the_merge_gap_does_not_end_it(
    pause: int, expected: list[tuple[int, int]]
) -> None:
    assert heard(1, 0, 0, 1, 1, 0, 0, 0, limits=rule(merge_samples=pause)) == expected


def test_after_a_pause_it_takes_the_onset_threshold_again() -> None:
    assert heard(1, 0, 0.4, 0.4, 0, limits=rule(merge_samples=500)) == [(0, 1)]
    assert heard(1, 0, 0.5, 0.4, 0, limits=rule(merge_samples=500)) == [(0, 4)]


def test_parts_that_are_merged_reach_the_minimum_together() -> None:
    assert heard(1, 0, 1, 0, 0, 0, limits=rule(min_samples=300, merge_samples=201)) == [(0, 3)]


def test_an_end_waits_for_the_merge_gap_but_tells_the_true_offset() -> None:
    machine = segmenter(plain_frames(), rule(merge_samples=300))
    ends = [
        (answer.end_sample, event.offset_sample)
        for answer in hops(1, 0, 0, 0, 0, 0, 0)
        for event in machine.push(answer)
        if event.type == "end"
    ]
    [(told_at, offset)] = ends
    assert offset == 100
    assert told_at <= 500


def test_updates_come_at_their_interval_while_it_goes_on() -> None:
    machine = segmenter(plain_frames(), update_samples=300)
    events = run(machine, [*hops(*[1] * 10), Cut(1000)])
    assert [event.type for event in events] == ["start", "update", "update", "update", "end"]
    lives(events)


def test_no_update_is_told_during_a_pause() -> None:
    machine = segmenter(plain_frames(), rule(merge_samples=10_000), update_samples=100)
    events = run(machine, [*hops(1, 1, 0, 0, 0, 0), Cut(600)])
    assert [event.type for event in events] == ["start", "update", "end"]


def test_a_cut_truncates_what_sounds_and_ends_what_does_not() -> None:
    machine = segmenter(plain_frames(), rule(0, merge_samples=1000))
    [first] = lives(run(machine, [*hops(0, 1, 1), Cut(300)]))
    assert first == Segment("label_0", 100, 300, truncated=True)
    [second] = lives(run(machine, [*hops(0, 1, 0), Cut(300)]))
    assert second == Segment("label_0", 100, 200, truncated=False)


def test_nothing_survives_a_cut() -> None:
    machine = segmenter(plain_frames(), rule(merge_samples=10_000, min_samples=200))
    before = run(machine, [*hops(0, 0, 1), Cut(300)])  # too short when the sound is cut
    assert before == []
    after = run(machine, [frames(300, 400, [1]), frames(400, 500, [0]), Cut(500)])
    assert after == []  # and no part of a longer one
    assert machine.cut(600) == []


def test_labels_live_apart() -> None:
    machine = segmenter(tagger(), rule(0), rule(2))
    answers = [clip(100, 1, 1, 0), clip(200, 1, 1, 1), clip(300, 0, 1, 1), clip(400, 0, 1, 0)]
    found = lives(run(machine, [*answers, Cut(400)]))
    assert {(s.label, s.onset, s.offset) for s in found} == {
        ("label_0", 0, 200),
        ("label_2", 100, 300),
    }


def test_scores_are_told_as_peak_and_mean_so_far() -> None:
    machine = segmenter(tagger(), update_samples=200)
    answers = [clip(100 * (i + 1), score) for i, score in enumerate((0.6, 0.8, 0.7, 0.4, 0.1))]
    start, update, end = run(machine, [*answers, Cut(500)])
    assert (start.peak, start.mean) == pytest.approx((0.6, 0.6))
    assert (update.peak, update.mean) == pytest.approx((0.8, 0.7))
    assert (end.peak, end.mean) == pytest.approx((0.8, 0.625))


def test_scores_that_are_no_number_are_not_heard() -> None:
    machine = segmenter(tagger())
    assert run(machine, [clip(100, math.nan), clip(200, math.nan), Cut(200)]) == []


class TestTagger:
    """Windows of 500 samples every 100; the sound is in every window that touches it."""

    @staticmethod
    def listen(onset: int, offset: int, end: int, *, trailing: bool = True) -> list[Scores | Cut]:
        spans = [(max(0, e - 500), e, 100) for e in range(100, end + 1, 100)]
        if trailing:
            spans += [(first, end, 0) for first in range(max(0, end - 500) + 100, end, 100)]
        answers: list[Scores | Cut] = [
            clip(e, float(first < offset and e > onset), new=new, first=first)
            for first, e, new in spans
        ]
        return [*answers, Cut(end)]

    @pytest.mark.parametrize(("onset", "offset"), [(720, 1130), (0, 80), (10, 1999), (1500, 1501)])
    def test_edges_lie_within_one_hop(self, onset: int, offset: int) -> None:
        [found] = times(run(segmenter(tagger()), self.listen(onset, offset, 3000)))
        assert onset - 100 <= found[0] <= onset
        assert offset <= found[1] <= offset + 100

    def test_trailing_windows_time_the_offset_before_a_cut(self) -> None:
        answers = self.listen(820, 1310, 1600)
        assert lives(run(segmenter(tagger()), answers)) == [
            Segment("label_0", 800, 1400, truncated=False)
        ]

    def test_without_them_it_seems_to_go_on(self) -> None:
        answers = self.listen(820, 1310, 1600, trailing=False)
        assert lives(run(segmenter(tagger()), answers)) == [
            Segment("label_0", 800, 1600, truncated=True)
        ]

    def test_trailing_windows_never_begin_a_sound(self) -> None:
        answers = [clip(500, 0.4, new=100, first=0), clip(500, 0.9, new=0, first=100)]
        assert run(segmenter(tagger()), [*answers, Cut(500)]) == []

    def test_trailing_windows_never_revive_a_sound(self) -> None:
        machine = segmenter(tagger(), rule(merge_samples=5000))
        answers = [
            clip(500, 0.9, new=100, first=0),
            clip(500, 0.1, new=0, first=100),
            clip(500, 0.9, new=0, first=200),
            clip(500, 0.9, new=0, first=300),
        ]
        [found] = lives(run(machine, [*answers, Cut(500)]))
        assert found == Segment("label_0", 400, 500, truncated=False)

    def test_skipped_windows_widen_the_onset_to_what_is_new(self) -> None:
        answers = [clip(500, 0, new=100, first=0), clip(900, 1, new=400, first=400)]
        [start] = run(segmenter(tagger()), answers)
        assert start.onset_sample == 500


class TestLevel:
    @pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.001])
    def test_of_a_tone_is_that_of_its_mean_square(self, amplitude: float) -> None:
        power = amplitude**2 / 2
        answers = [clip(100 * i, 0.9, power=power) for i in range(1, 8)]
        for event in run(segmenter(tagger(), update_samples=200), [*answers, Cut(700)]):
            assert event.level_dbfs == pytest.approx(20 * math.log10(amplitude) - 3.01, abs=0.01)

    def test_is_of_the_segment_alone(self) -> None:
        loud, quiet = 1.0, 1e-6
        answers = [
            clip(100, 0, power=loud),
            clip(200, 1, power=quiet),
            clip(300, 1, power=quiet),
            clip(400, 0, power=loud),
        ]
        *_, end = run(segmenter(tagger()), answers)
        assert end.type == "end"
        assert end.level_dbfs == pytest.approx(-60, abs=0.01)

    def test_of_a_tagger_is_of_the_sound_not_of_the_windows_that_show_it(self) -> None:
        loud = {800: 0.8, 900: 1.0, 1000: 1.0, 1100: 1.0, 1200: 0.3}  # by the end of the hop
        answers = [
            replace(answer, power=loud.get(answer.end_sample, 0.0))
            for answer in TestTagger.listen(720, 1130, 2000)
            if isinstance(answer, Scores)
        ]
        end = run(segmenter(tagger()), answers)[-1]
        assert (end.onset_sample, end.offset_sample) == (700, 1200)
        assert end.level_dbfs == pytest.approx(10 * math.log10(410 / 500), abs=0.01)

    @pytest.mark.parametrize("power", [1e30, math.nan])
    def test_of_what_follows_a_broken_sample_is_its_own(self, power: float) -> None:
        """A spike of 1e15 in a second of sound, or no number at all."""
        answers = [clip(100, 0, power=power), clip(200, 1, power=0.01), clip(300, 0, power=0.01)]
        assert [e.level_dbfs for e in run(segmenter(tagger()), answers)] == [-20.0, -20.0]

    def test_of_a_long_sound_is_of_all_of_it(self) -> None:
        """It began before what is kept of the loudness."""
        hop = 16_000
        loud = [clip(hop * i, 1, new=hop, power=0.1) for i in range(1, 501)]
        quiet = [clip(hop * i, 1, new=hop, power=0.001) for i in range(501, 1001)]
        *_, end = run(segmenter(tagger(hop)), [*loud, *quiet, Cut(1000 * hop)])
        assert end.level_dbfs == pytest.approx(10 * math.log10(0.0505), abs=0.001)

    def test_of_digital_silence_is_finite(self) -> None:
        answers = [clip(100, 1, power=0.0), clip(200, 0, power=0.0)]
        assert {e.level_dbfs for e in run(segmenter(tagger()), answers)} == {-120.0}

    @pytest.mark.parametrize("pause_s", [10, 1000])
    def test_is_known_after_a_long_pause(self, pause_s: int) -> None:
        """An end is told after the merge gap, of a sound that lies as far back."""
        hop = 16_000
        machine = segmenter(tagger(hop), rule(merge_samples=pause_s * hop))
        answers = [clip(hop, 1, new=hop, power=1e-6)]
        answers += [clip(hop * i, 0, new=hop, power=1e-3) for i in range(2, pause_s + 3)]
        *_, end = run(machine, answers)
        assert (end.type, end.offset_sample) == ("end", hop)
        assert end.level_dbfs == pytest.approx(-60, abs=0.01)


def expected(
    scores: list[float], onset: float, offset: float, least: int, pause: int
) -> list[tuple[int, int, bool]]:
    """Hysteresis, then merging, then the minimum, each over all scores at once."""
    runs: list[list[int]] = []  # from where the score rose to where it fell
    sounding, rose = False, 0
    for i, score in enumerate(scores):
        if i == 0 or scores[i - 1] < offset:
            rose = i
        if score >= onset and not sounding:
            runs.append([rose, i + 1])
            sounding = True
        elif score >= offset and sounding:
            runs[-1][1] = i + 1
        else:
            sounding = False
    merged: list[list[int]] = []
    for rose, end in runs:
        if merged and rose - merged[-1][1] < pause:
            merged[-1][1] = end
        else:
            merged.append([rose, end])
    return [(a, b, sounding and b == len(scores)) for a, b in merged if b - a >= least]


score = st.sampled_from([0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 1.0])


@given(
    scores=st.lists(score, max_size=60),
    thresholds=st.tuples(score, score),
    least=st.integers(0, 5),
    pause=st.integers(0, 5),
)
@settings(max_examples=200)
def test_agrees_with_the_same_rules_applied_to_the_whole(
    scores: list[float], thresholds: tuple[float, float], least: int, pause: int
) -> None:
    offset, onset = sorted(thresholds)
    limits = rule(
        onset_threshold=onset,
        offset_threshold=offset,
        min_samples=100 * least,
        merge_samples=100 * pause,
    )
    found = lives(run(segmenter(plain_frames(), limits), cut(*scores)))
    assert [(s.onset // 100, s.offset // 100, s.truncated) for s in found] == expected(
        scores, onset, offset, least, pause
    )


@st.composite
def any_scores(draw: st.DrawFn, labels: int, hop: int, frame: int | None) -> list[Scores | Cut]:
    """Windows of a source with gaps, some of them skipped; any scores at all."""
    answers: list[Scores | Cut] = []
    length = hop * draw(st.integers(1, 6))
    position = draw(st.integers(0, 10_000))
    values = np.random.default_rng(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 3))):
        origin = position
        spans = []
        for _ in range(draw(st.integers(0, 15))):
            new = hop * draw(st.sampled_from([1, 1, 1, 2, 5]))
            position += new
            spans.append((max(origin, position - length), position, new))
        if rest := draw(st.integers(0, hop - 1)):
            position += rest
            spans.append((max(origin, position - length), position, rest))
        if frame is None and spans:
            trailing = range(spans[-1][0] + hop, position - hop + 1, hop)
            spans += [(first, position, 0) for first in trailing]
        for first, end, new in spans:
            shape = (labels,) if frame is None else (-(-length // frame), labels)
            drawn = np.asarray(values.random(shape), np.float32)
            answers.append(
                Scores(
                    first,
                    end,
                    new,
                    float(values.random()),
                    drawn if frame is None else None,
                    None if frame is None else drawn,
                )
            )
        answers.append(Cut(position))
        position += draw(st.integers(0, 1000))
    return answers


@given(
    data=st.data(),
    hop=st.integers(20, 5000),
    framed=st.booleans(),
    median=st.sampled_from([1, 3, 9]),
)
@settings(max_examples=150)
def test_life_of_every_segment_makes_sense(
    data: st.DataObject, hop: int, median: int, *, framed: bool
) -> None:
    """Whatever a model says, whatever is skipped or not heard, with any rules."""
    frame = data.draw(st.integers(1 + hop // 30, 2 * hop)) if framed else None
    offset = data.draw(st.integers(0, 100))
    steps: Steps = ClipSteps(hop)
    if frame:
        output = FramesOutput(
            name="frames", activation="none", hop_samples=frame, offset_samples=offset
        )
        steps = FrameSteps(output, hop)
    if median > 1:
        steps = MedianSteps(steps, median)
    rules = []
    for index in range(2):
        low, high = sorted(data.draw(st.tuples(*[st.floats(0, 1)] * 2)))
        limits = data.draw(st.tuples(*[st.sampled_from([0, 1, hop // 2, hop, 3 * hop])] * 2))
        rules.append(
            rule(
                index,
                offset_threshold=low,
                onset_threshold=high,
                min_samples=limits[0],
                merge_samples=limits[1],
            )
        )
    machine = segmenter(steps, *rules, update_samples=data.draw(st.integers(1, 10 * hop)))
    beginning = 0
    whole: list[Event] = []
    answers: list[Scores | Cut] = []
    for answer in data.draw(any_scores(2, hop, frame)):
        answers.append(answer)
        if not isinstance(answer, Cut):
            continue
        events = run(machine, answers)
        for segment in lives(events):  # nothing is open after a cut
            assert beginning <= segment.onset
            assert segment.offset <= answer.end_sample
        whole += events
        answers, beginning = [], answer.end_sample
    lives(whole)
    assert all(math.isfinite(event.level_dbfs) for event in whole)
