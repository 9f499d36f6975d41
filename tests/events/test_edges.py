"""When a sound that an ideal tagger hears began and ended, for any window and hop."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.events.scores.steps import ClipSteps
from detector.features.windows import WindowRequest, windows_of
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Scores, Window
from detector.spec import Waveform, WindowSpec
from tests.events.scores import Segment, lives, run, segmenter


@dataclass(frozen=True)
class Case:
    window: int
    hop: int
    onset: int
    offset: int
    end: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    window = round(draw(st.sampled_from([2.56, 5.12, 10.24])) * SAMPLE_RATE)
    hop = 160 * draw(st.integers(10, 100))
    onset = draw(st.integers(0, 12 * SAMPLE_RATE))
    length = draw(st.sampled_from([1, 160, hop - 1, hop, hop + 1]) | st.integers(1, 90_000))
    after = draw(st.sampled_from([0, 1, hop - 1, hop, hop + 1, 2 * hop]) | st.integers(0, 180_000))
    return Case(window, hop, onset, onset + length, onset + length + after)


def listen(case: Case) -> list[Segment]:
    """The events of a tagger whose score is 1 while any of the sound is in its window."""
    spec = WindowSpec(samples=case.window, hop_samples=case.hop)
    request = WindowRequest(Waveform(normalise="none"), spec, case.window, trailing=True)

    def score(window: Window) -> Scores:
        hot = window.first_sample < case.offset and window.end_sample > case.onset
        return Scores(
            window.first_sample,
            window.end_sample,
            window.new_samples,
            window.power,
            np.array([hot], np.float32),
            None,
        )

    block = AudioBlock(0, np.zeros(case.end, np.float32))
    answers = [score(window) for window in windows_of(request, [block])]
    return lives(run(segmenter(ClipSteps(case.hop)), [*answers, Cut(case.end)]))


@given(case=cases())
@settings(max_examples=60)
def test_edges_lie_within_one_hop(case: Case) -> None:
    [found] = listen(case)
    assert abs(found.onset - case.onset) <= case.hop
    assert abs(found.offset - case.offset) <= case.hop
    if case.end - case.offset >= case.hop:
        assert not found.truncated
    if case.end == case.offset:
        assert (found.offset, found.truncated) == (case.end, True)
