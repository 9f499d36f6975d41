"""Windows become steps: what a tagger, a frame classifier and a median filter say of time."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.events.scores.steps import ClipSteps, FrameSteps, MedianSteps, Step
from detector.records import Scores
from detector.spec import FramesOutput
from tests.events.scores import clip, frames

FRAME = 320


def frame_steps(hop: int, frame: int = FRAME, offset: int = 0) -> FrameSteps:
    output = FramesOutput(
        name="frames", activation="none", hop_samples=frame, offset_samples=offset
    )
    return FrameSteps(output, hop)


def values(steps: list[Step]) -> list[float]:
    return [round(float(step.scores[0]), 6) for step in steps]


def spans(steps: list[Step]) -> list[tuple[int, int]]:
    return [(step.onset_sample, step.end_sample) for step in steps]


class TestClipSteps:
    def test_a_sound_begins_in_the_last_hop_and_ends_in_the_first(self) -> None:
        [step] = ClipSteps(100).push(clip(1000, 0.7, new=100, first=400))
        assert (step.onset_sample, step.offset_sample, step.end_sample) == (900, 500, 1000)
        assert step.new

    def test_a_window_that_shows_nothing_new_is_not_new(self) -> None:
        [step] = ClipSteps(100).push(clip(1000, 0.7, new=0, first=600))
        assert not step.new
        assert step.offset_sample == 700

    def test_an_offset_lies_within_what_was_heard(self) -> None:
        [step] = ClipSteps(100).push(clip(40, 0.7, new=40, first=0))
        assert step.offset_sample == 40

    def test_scores_without_a_clip_make_no_step(self) -> None:
        assert ClipSteps(100).push(frames(0, 100, [1])) == []


class TestFrameSteps:
    def test_frames_of_windows_that_do_not_overlap_pass_unchanged(self) -> None:
        steps = frame_steps(4 * FRAME)
        scores = [0.1, 0.9, 0.3, 0.4]
        out = steps.push(frames(0, 4 * FRAME, scores))
        out += steps.push(frames(4 * FRAME, 8 * FRAME, scores))
        out += steps.flush()
        assert values(out) == scores * 2
        assert spans(out) == [(FRAME * i, FRAME * (i + 1)) for i in range(8)]
        assert all(step.new and step.offset_sample == step.end_sample for step in out)

    def test_overlapping_windows_vote_and_the_one_that_sees_more_around_counts_more(self) -> None:
        """With 10 frames (0.2 s) of ramp: at the edge of one window and deep in the other."""
        steps = frame_steps(10 * FRAME)
        one, other = [0.0] * 30, [1.0] * 30
        out = steps.push(frames(0, 30 * FRAME, one))
        out += steps.push(frames(10 * FRAME, 40 * FRAME, other, new=10 * FRAME)) + steps.flush()
        assert len(out) == 40
        voted = values(out)
        assert voted[:20] == [0.0] * 20  # certain before the other window came
        assert voted[20] == pytest.approx(1 / 2)
        assert voted[25] == pytest.approx(1 / 1.5)
        assert voted[29] == pytest.approx(1 / 1.1)
        assert voted[30:] == [1.0] * 10
        assert all(a <= b for a, b in pairwise(voted))

    @given(window=st.integers(1, 40), hop=st.integers(1, 40), count=st.integers(1, 12))
    @settings(max_examples=60)
    def test_windows_that_agree_are_repeated_whatever_their_overlap(
        self, window: int, hop: int, count: int
    ) -> None:
        hop = min(hop, window)
        truth = np.random.default_rng(1).random(hop * count + window)
        steps = frame_steps(hop * FRAME)
        out = []
        for i in range(count):
            first, end = max(0, (i + 1) * hop - window), (i + 1) * hop
            part = np.zeros(window)
            part[: end - first] = truth[first:end]  # the rest is padding, and must not count
            out += steps.push(frames(first * FRAME, end * FRAME, list(part), new=hop * FRAME))
        out += steps.flush()
        assert spans(out) == [(FRAME * i, FRAME * (i + 1)) for i in range(hop * count)]
        np.testing.assert_allclose([s.scores[0] for s in out], truth[: hop * count], rtol=1e-6)

    @pytest.mark.parametrize("hop", [1600, 8000])
    def test_a_frame_comes_0_2_s_after_it_was_heard_or_one_hop(self, hop: int) -> None:
        steps = frame_steps(hop)
        out = steps.push(frames(0, 16_000, [0.0] * 50))
        assert out[-1].end_sample <= 16_000 - min(3200, hop) < out[-1].end_sample + FRAME

    def test_a_frame_is_given_once(self) -> None:
        steps = frame_steps(1600)
        out = []
        for end in range(16_000, 32_000, 1600):
            out += steps.push(frames(end - 16_000, end, [0.0] * 50, new=1600))
        out += steps.flush()
        begins = [step.onset_sample for step in out]
        assert begins == [FRAME * i for i in range(len(begins))]

    def test_frames_that_no_window_showed_are_left_out(self) -> None:
        steps = frame_steps(4 * FRAME)
        out = steps.push(frames(0, 4 * FRAME, [0.1] * 4))
        out += steps.push(frames(8 * FRAME, 12 * FRAME, [0.2] * 4)) + steps.flush()
        assert [s.onset_sample // FRAME for s in out] == [0, 1, 2, 3, 8, 9, 10, 11]

    def test_frames_that_are_padding_even_in_part_make_no_steps(self) -> None:
        steps = frame_steps(16_000)
        out = steps.push(frames(0, 1000, [0.5] * 50)) + steps.flush()
        assert spans(out) == [(0, 320), (320, 640), (640, 960)]

    def test_offset_says_where_the_first_frame_begins(self) -> None:
        steps = frame_steps(160, frame=160, offset=120)
        out = steps.push(frames(0, 600, [0.1, 0.2, 0.3])) + steps.flush()
        assert spans(out) == [(120, 280), (280, 440), (440, 600)]

    @pytest.mark.parametrize("origin", [0, 17, 12_345])
    def test_after_a_flush_frames_count_from_the_new_beginning(self, origin: int) -> None:
        steps = frame_steps(4 * FRAME)
        steps.push(frames(0, 4 * FRAME, [0.1] * 4))
        steps.flush()
        begin = 5000 + origin
        out = steps.push(frames(begin, begin + 4 * FRAME, [0.2] * 4)) + steps.flush()
        assert spans(out) == [(begin + FRAME * i, begin + FRAME * (i + 1)) for i in range(4)]

    @given(hop=st.integers(100, 4000), sound=st.tuples(st.integers(0, 600), st.integers(1, 300)))
    @settings(max_examples=80)
    def test_edges_lie_within_one_frame(self, hop: int, sound: tuple[int, int]) -> None:
        """Whatever the hop: it need not be a multiple of the frame."""
        onset, offset = sound[0] * 37, (sound[0] + sound[1]) * 37
        steps = frame_steps(hop)
        out = []
        for end in range(hop, 60_000, hop):
            first = max(0, end - 16_000)
            middles = first + FRAME * np.arange(50) + FRAME // 2
            scores = ((middles >= onset) & (middles < offset)).astype(float)
            out += steps.push(frames(first, end, list(scores), new=hop))
        heard = [s for s in out + steps.flush() if s.scores[0] >= 0.5]
        if offset - onset >= 2 * FRAME:
            assert abs(heard[0].onset_sample - onset) <= FRAME
            assert abs(heard[-1].offset_sample - offset) <= FRAME

    def test_scores_without_frames_make_no_step(self) -> None:
        steps = frame_steps(100)
        assert steps.push(clip(100, 1.0)) == []
        assert steps.flush() == []


class TestMedianSteps:
    @staticmethod
    def smooth(length: int, *scores: float) -> list[Step]:
        steps = MedianSteps(ClipSteps(100), length)
        out = []
        for i, score in enumerate(scores):
            out += steps.push(clip(100 * (i + 1), score))
        return out + steps.flush()

    @pytest.mark.parametrize("length", [1, 3, 5, 9])
    def test_edges_stay_where_they_are(self, length: int) -> None:
        scores = [0.0] * 10 + [1.0] * 10 + [0.0] * 10
        out = self.smooth(length, *scores)
        assert values(out) == scores
        assert [step.end_sample for step in out] == [100 * (i + 1) for i in range(30)]

    def test_single_spikes_and_dips_vanish(self) -> None:
        scores = [0.0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1]
        assert values(self.smooth(3, *scores)) == [0.0] * 7 + [1.0] * 7

    def test_a_step_comes_half_the_length_later(self) -> None:
        steps = MedianSteps(ClipSteps(100), 5)
        told = [len(steps.push(clip(100 * (i + 1), 0.5))) for i in range(6)]
        assert told == [0, 0, 1, 1, 1, 1]
        assert len(steps.flush()) == 2

    @given(
        scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=30),
        half=st.integers(0, 6),
    )
    @settings(max_examples=80)
    def test_is_the_median_of_what_is_near(self, scores: list[float], half: int) -> None:
        expected = [
            float(np.median(scores[max(0, i - half) : i + half + 1])) for i in range(len(scores))
        ]
        assert values(self.smooth(2 * half + 1, *scores)) == expected

    def test_nothing_is_carried_over_a_flush(self) -> None:
        steps = MedianSteps(ClipSteps(100), 3)
        for end in (100, 200, 300):
            steps.push(clip(end, 0.0))
        steps.flush()
        out = steps.push(clip(500, 1.0)) + steps.push(clip(600, 0.0)) + steps.flush()
        assert values(out) == [0.5, 0.5]

    def test_works_over_frames(self) -> None:
        steps = MedianSteps(frame_steps(5 * FRAME), 3)
        out = steps.push(frames(0, 5 * FRAME, [0, 1, 0, 1, 1])) + steps.flush()
        assert values(out) == [0.5, 0.0, 1.0, 1.0, 1.0]
        assert [step.onset_sample for step in out] == [FRAME * i for i in range(5)]


def test_labels_are_filtered_apart() -> None:
    steps = MedianSteps(ClipSteps(100), 3)
    pushed: list[Scores] = [clip(100, 0, 1), clip(200, 1, 0), clip(300, 0, 1)]
    out = [step for scores in pushed for step in steps.push(scores)] + steps.flush()
    assert [step.scores.tolist() for step in out] == [[0.5, 0.5], [0.0, 1.0], [0.5, 0.5]]
