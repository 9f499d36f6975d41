"""A label is heard where any of those below it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from detector.events.scores.label_tree import LabelTree
from detector.records import FloatArray, Scores
from detector.spec import BundleSpec, Label
from tests.bundles import tone_bundle


def label(slug: str, *children: str) -> Label:
    return Label(slug=slug, name=slug, children=children)


ANIMALS = [label("bark"), label("animal", "dog", "cat"), label("cat", "growl"),
           label("dog", "bark", "growl"), label("growl")]  # fmt: skip


def raised(labels: list[Label], *scores: float) -> list[float]:
    return [round(float(s), 3) for s in LabelTree(labels).raised(np.array(scores, np.float32))]


def test_score_is_the_highest_of_all_below() -> None:
    assert raised(ANIMALS, 0.9, 0.1, 0.2, 0.3, 0.0) == [0.9, 0.9, 0.2, 0.9, 0.0]


def test_what_is_below_two_labels_raises_both() -> None:
    assert raised(ANIMALS, 0.0, 0.1, 0.2, 0.3, 0.8) == [0.0, 0.8, 0.8, 0.8, 0.8]


def test_own_score_stays_if_it_is_higher() -> None:
    assert raised(ANIMALS, 0.1, 0.7, 0.2, 0.6, 0.1) == [0.1, 0.7, 0.2, 0.6, 0.1]


def test_circles_raise_each_other() -> None:
    circle = [label("a", "b"), label("b", "c"), label("c", "a"), label("d")]
    assert raised(circle, 0.1, 0.2, 0.5, 0.9) == [0.5, 0.5, 0.5, 0.9]


def test_windows_and_frames_are_raised_alike_and_the_answer_is_left_as_it_is() -> None:
    clip: FloatArray = np.array([0.9, 0, 0, 0, 0], np.float32)
    frames: FloatArray = np.array([[0, 0, 0, 0, 0.5], [0.25, 0, 0, 0, 0]], np.float32)
    answer = Scores(0, 100, 100, 0.0, clip, frames)
    found = LabelTree(ANIMALS).apply(answer)
    assert found.clip is not None
    assert found.frames is not None
    assert found.clip.tolist() == pytest.approx([0.9, 0.9, 0, 0.9, 0])
    assert found.frames.tolist() == [[0, 0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0, 0.25, 0]]
    assert clip[1] == frames[0, 1] == 0


def test_labels_without_children_cost_nothing() -> None:
    answer = Scores(0, 100, 100, 0.0, np.zeros(2, np.float32), None)
    assert LabelTree([label("a"), label("b")]).apply(answer) is answer


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"slug": "dog", "children": ["bark"]}], "dog.children: no label has the slug 'bark'"),
        ([{"slug": "dog", "aliases": ["cat"]}, {"slug": "cat"}], "'cat' stands for another label"),
        (
            [{"slug": "dog", "aliases": ["pet"]}, {"slug": "cat", "aliases": ["pet"]}],
            "cat.aliases: 'pet' stands for another label",
        ),
    ],
)
def test_bundle_with_contradicting_names_is_refused(
    labels: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    table = json.loads((tone_bundle(tmp_path / "tones") / "bundle.json").read_text("utf-8"))
    table["labels"] = [{"name": "x", **one} for one in labels]
    with pytest.raises(ValidationError, match=message):
        BundleSpec.model_validate(table)
