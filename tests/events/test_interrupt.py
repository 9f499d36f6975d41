"""A model that says nothing at present: what goes on ends where it is known, whatever that is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.events.segments.segmenter import Segmenter
from detector.records import Event, Scores
from tests.events.scores import lives, plain_frames, rule

LEVELS = st.sampled_from([0.0, 0.4, 0.9])


@given(
    scores=st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=30),
    after=st.sets(st.integers(0, 29), max_size=6),
)
@settings(max_examples=200)
def test_an_interruption_ends_every_segment_after_its_onset(
    scores: list[tuple[float, float]], after: set[int]
) -> None:
    """Also one that began while it was not known yet whether another label had begun before."""
    steps, segmenter = plain_frames(), Segmenter("model@1", [rule(0), rule(1)], 10**9)
    events: list[Event] = []
    for i, values in enumerate(scores):
        window = np.array([values], np.float32)
        answer = Scores(100 * i, 100 * (i + 1), 100, 1.0, None, window)
        events += segmenter.push(answer, steps.push(answer))
        if i in after:
            events += segmenter.cut(segmenter.known_until, [])
    events += segmenter.cut(100 * len(scores), steps.flush())
    for label in ("label_0", "label_1"):
        own = [event for event in events if event.label == label]
        assert [event.type for event in own] == ["start", "end"] * (len(own) // 2)
        for start, end in zip(own[::2], own[1::2], strict=True):
            assert end.offset_sample is not None
            assert end.offset_sample > start.onset_sample


def test_a_segment_beside_a_rising_label_is_ended() -> None:
    steps, segmenter = plain_frames(), Segmenter("model@1", [rule(0), rule(1)], 10**9)
    events: list[Event] = []
    for i, values in enumerate([(0.4, 0.0), (0.4, 0.9), (0.4, 0.9), (0.4, 0.9)]):
        window = np.array([values], np.float32)
        answer = Scores(100 * i, 100 * (i + 1), 100, 1.0, None, window)
        events += segmenter.push(answer, steps.push(answer))
    assert segmenter.known_until == 0
    events += segmenter.cut(segmenter.known_until, [])
    [segment] = lives(events)
    assert segment.truncated
    assert segment.offset > segment.onset
