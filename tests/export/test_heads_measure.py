"""Thresholds and figures are what the held-out scores say."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="export needs torch")

from detector.records import FloatArray
from export.heads.data.scenes import Example
from export.heads.fit.measure import NONE, ScoredWindows, choose_thresholds, measure

pytestmark = pytest.mark.export


def example(*target: int, known: tuple[int, ...] | None = None, frames: int = 0) -> Example:
    said = np.asarray(target, np.float32)
    about = np.ones_like(said) if known is None else np.asarray(known, np.float32)
    each = np.tile(said, (frames, 1)), np.ones((frames, len(target)), np.float32)
    return Example(np.zeros(1, np.float32), said, about, *each)


def scored_windows(
    examples: Sequence[Example], clip: FloatArray, frames: FloatArray | None
) -> ScoredWindows:
    def stack(name: str) -> NDArray[np.bool_]:
        return np.stack([getattr(example, name) > 0 for example in examples])

    return ScoredWindows(
        target=stack("target"),
        known=stack("known"),
        clip=clip,
        frame_target=stack("frame_target"),
        frame_known=stack("frame_known"),
        frames=frames,
    )


def scores(*rows: tuple[float, ...]) -> FloatArray:
    return np.asarray(rows, np.float32)


def test_threshold_lies_in_the_middle_between_what_it_parts() -> None:
    scored = scored_windows(
        [example(1), example(1), example(0), example(0)],
        scores((0.9,), (0.8,), (0.5,), (0.1,)),
        None,
    )
    assert choose_thresholds(scored) == [(0.65, 0.39)]


def test_threshold_has_the_highest_f1_where_scores_overlap() -> None:
    truth = [1, 1, 0, 1, 0, 0]
    found = scores((0.95,), (0.85,), (0.8,), (0.7,), (0.4,), (0.2,))
    scored = scored_windows([example(t) for t in truth], found, None)
    assert choose_thresholds(scored)[0][0] == 0.55


def test_threshold_is_bounded_where_few_scores_say_little() -> None:
    high = scored_windows([example(1), example(0)], scores((0.999,), (0.99,)), None)
    low = scored_windows([example(1), example(0)], scores((0.02,), (0.01,)), None)
    assert choose_thresholds(high)[0][0] == 0.9
    assert choose_thresholds(low)[0][0] == 0.3


def test_what_is_not_known_takes_no_part() -> None:
    scored = scored_windows(
        [example(1), example(0, known=(0,)), example(0)], scores((0.9,), (0.95,), (0.3,)), None
    )
    assert choose_thresholds(scored)[0][0] == 0.6


def test_thresholds_are_of_the_frames_where_there_are_frames() -> None:
    frames = np.asarray([[[0.8], [0.8]], [[0.2], [0.2]]], np.float32)
    scored = scored_windows(
        [example(1, frames=2), example(0, frames=2)], scores((0.9,), (0.9,)), frames
    )
    assert choose_thresholds(scored)[0][0] == 0.5
    figures = measure(scored, ["a"], [0.5], exclusive=False)
    assert figures["frames"] == {"a": {"frames": 2, "precision": 1.0, "recall": 1.0}}


def test_exclusive_labels_are_confused_with_one_another() -> None:
    scored = scored_windows(
        [example(1, 0), example(1, 0), example(0, 1)],
        scores((0.9, 0.1), (0.4, 0.6), (0.2, 0.8)),
        None,
    )
    figures = measure(scored, ["a", "b"], [0.5, 0.5], exclusive=True)
    assert figures["accuracy"] == 0.6667
    assert figures["labels"]["a"] == {"windows": 2, "right": 1, "accuracy": 0.5}
    assert figures["confusion"] == {"a": {"a": 1, "b": 1}, "b": {"b": 1}}


def test_a_score_below_its_threshold_is_none() -> None:
    scored = scored_windows(
        [example(1, 0), example(0, 0), example(0, 0), example(1, 1)],
        scores((0.4, 0.1), (0.1, 0.2), (0.1, 0.9), (0.7, 0.8)),
        None,
    )
    figures = measure(scored, ["a", "b"], [0.5, 0.5], exclusive=False)
    assert figures["confusion"] == {
        "a": {"a": 1, NONE: 1},
        "b": {"b": 1},
        NONE: {"b": 1, NONE: 1},
    }


def test_a_label_of_which_nothing_was_held_out_has_no_accuracy() -> None:
    scored = scored_windows([example(1, 0)], scores((0.9, 0.1)), None)
    figures = measure(scored, ["a", "b"], [0.5, 0.5], exclusive=True)
    assert figures["labels"]["b"] == {"windows": 0, "right": 0, "accuracy": None}
    assert choose_thresholds(scored)[1] == (0.5, 0.3)
