"""Rules of a segmenter that change while it goes on."""

from dataclasses import replace

import numpy as np
import pytest

from detector.records import Scores
from tests.events.scores import clip, frames, plain_frames, retune, rule, run, segmenter, tagger


def test_a_new_threshold_counts_from_the_next_window() -> None:
    machine = segmenter(tagger(), rule(onset_threshold=0.8))
    assert run(machine, [clip(100, 0.6), clip(200, 0.6)]) == []
    assert retune(machine, rule(onset_threshold=0.5)) == []
    assert [e.type for e in run(machine, [clip(300, 0.6)])] == ["start"]


def test_what_is_open_stays_open_when_its_rule_moves() -> None:
    machine = segmenter(tagger(), rule(0), rule(1))
    [start] = run(machine, [clip(100, 0.1, 0.9)])
    assert retune(machine, rule(1)) == []
    [end] = run(machine, [clip(200, 0.9, 0.9), clip(300, 0.9, 0.1)])
    assert (end.type, end.label, end.onset_sample) == ("end", "label_1", start.onset_sample)


@pytest.mark.parametrize(
    ("offset_threshold", "onset"),
    [(0.3, 100), (0.2, 100), (0.45, 300)],
    ids=["same", "less", "more"],
)
def test_a_score_that_is_rising_is_remembered_unless_it_must_rise_further(
    offset_threshold: float, onset: int
) -> None:
    def hop(number: int, score: float) -> Scores:
        window = frames(100 * number, 100 * number + 100, [0.0])
        return replace(window, frames=np.array([[score, 0.0]], np.float32))

    machine = segmenter(plain_frames(), rule(1), rule(0))
    # What was heard last counts with the next window.
    assert run(machine, [hop(0, 0.1), hop(1, 0.4), hop(2, 0.4)]) == []
    assert retune(machine, rule(0, offset_threshold=offset_threshold)) == []
    [start] = run(machine, [hop(3, 0.9), hop(4, 0.9)])
    assert (start.label, start.onset_sample) == ("label_0", onset)


def test_a_label_that_is_no_longer_wanted_ends_cut_off() -> None:
    machine = segmenter(tagger(), rule(0), rule(1))
    run(machine, [clip(100, 0.9, 0.9)])
    [end] = retune(machine, rule(1))
    assert (end.type, end.label, end.truncated, end.offset_sample) == ("end", "label_0", True, 100)
    assert [e.label for e in run(machine, [clip(200, 0.1, 0.1)])] == ["label_1"]
