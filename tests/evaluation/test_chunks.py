"""Long recordings, cut so that their PSDS takes little time and stays what it is."""

import numpy as np
import pytest

from detector.evaluation.chunks import LONGEST, chunks
from detector.evaluation.optional import require
from detector.evaluation.scoring import TimedScores, score
from tests.evaluation.test_scoring import DCASE_1, data_frame

STEPS = 2 * LONGEST + 1000
TIMES_S = np.arange(STEPS + 1) / 50
EVENTS = [(float(t), float(t) + 3, "dog") for t in range(5, 130, 10)]


def smooth(seed: int = 0) -> np.ndarray:
    """(STEPS,) scores that rise at the events, among others."""
    rng = np.random.default_rng(seed)
    logits = np.convolve(rng.standard_normal(STEPS), np.ones(40) / 6, mode="same") - 3
    for onset, offset, _ in EVENTS:
        logits[round(50 * onset) : round(50 * offset)] += 4
    return np.round(1 / (1 + np.exp(-logits)), 2)


def test_chunks_are_the_whole_and_not_too_long() -> None:
    found = chunks(TIMES_S, smooth()[:, None], [event[:2] for event in EVENTS])
    assert [found[0][0], found[-1][1]] == [0, STEPS]
    assert [end for _, end in found[:-1]] == [first for first, _ in found[1:]]
    assert len(found) >= 3
    assert max(end - first for first, end in found) <= LONGEST


def test_no_event_is_cut_and_none_is_lost() -> None:
    long = (20.0, 30.0 + LONGEST / 50)  # longer than a chunk
    found = chunks(TIMES_S, smooth()[:, None], [long])
    assert len(found) >= 2
    assert not any(long[0] < TIMES_S[end] < long[1] for _, end in found)
    whole = chunks(TIMES_S, smooth()[:, None], [(0.0, float(TIMES_S[-1]))])
    assert whole == [(0, STEPS)]


def test_a_short_recording_is_one_chunk() -> None:
    assert chunks(np.arange(4.0), np.zeros((3, 2)), []) == [(0, 3)]


def test_psds_of_a_long_recording_is_what_the_library_says_of_the_whole() -> None:
    duration = {"a": float(TIMES_S[-1])}
    timed = {"a": TimedScores(TIMES_S, {"dog": smooth()})}
    expected, *_ = require("sed_scores_eval").intersection_based.psds(
        {"a": data_frame(timed["a"])}, {"a": EVENTS}, duration, unit_of_time="hour", **DCASE_1
    )
    assert 0.05 < expected < 0.95
    assert score({"a": EVENTS}, {}, duration, timed).overall.psds1 == pytest.approx(expected)
