"""What is falsely heard in rooms becomes the thresholds of what ships."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

from export.train.fused.calibrate import Peaks, parts, thresholds

pytestmark = pytest.mark.export

RECORDINGS, LABELS = 100, 6


def peaks(scores: np.ndarray, known: np.ndarray | None = None) -> Peaks:
    """A minute of each recording, ten recordings of a source."""
    return Peaks(
        scores.astype(np.float32),
        np.ones(scores.shape, bool) if known is None else known,
        np.full(len(scores), 1 / 60),
        np.array([f"source {i // 10}" for i in range(len(scores))]),
    )


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(1, 6, (RECORDINGS, LABELS))


def test_the_common_threshold_keeps_false_starts_rare() -> None:
    scores = noise()
    chosen = thresholds(peaks(scores), per_hour=4)
    assert (scores >= chosen).sum() <= 4 * RECORDINGS / 60 + LABELS
    assert (thresholds(peaks(scores), per_hour=40) <= chosen).all()


def test_a_label_that_is_often_falsely_heard_has_a_higher_threshold_than_the_others() -> None:
    scores = noise()
    scores[::4, 2] = 0.93
    chosen = thresholds(peaks(scores), per_hour=4)
    assert chosen[2] > 0.93
    assert (np.delete(chosen, 2) < 0.9).all()


def test_one_recording_alone_does_not_raise_a_label() -> None:
    scores = noise()
    scores[7, 2] = 0.99
    assert thresholds(peaks(scores), per_hour=4)[2] < 0.9


def test_what_a_recording_may_hold_does_not_count() -> None:
    scores, known = noise(), np.ones((RECORDINGS, LABELS), bool)
    scores[::4, 2], known[::4, 2] = 0.93, False
    assert thresholds(peaks(scores, known), per_hour=4)[2] < 0.9


def test_no_source_is_in_two_parts() -> None:
    groups = np.array([f"source {i % 7}" for i in range(50)])
    found = parts(groups)
    assert (np.sum(found, axis=0) == 1).all()
    for part in found:
        assert not {*groups[part]} & {*groups[~part]}
