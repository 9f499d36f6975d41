"""What trains, and what must not."""

import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

from export.train.data import (
    FREE,
    HELD_OUT,
    backgrounds,
    esc50,
    label_slugs,
    speech,
    training_rows,
)

DATA = Path(os.environ.get("AUDIO_DATA") or Path(__file__).parents[3] / "shared" / "data")
pytestmark = [
    pytest.mark.export,
    pytest.mark.recordings,
    pytest.mark.skipif(not (DATA / "esc50").is_dir(), reason=f"no recordings in {DATA}"),
]


def test_nothing_of_the_held_out_fold_trains() -> None:
    held_out = [row for row in esc50(DATA) if row.fold == HELD_OUT]
    trains = training_rows(DATA)
    assert len(held_out) == 400
    assert not {row.path for row in held_out} & {row.path for row in trains}
    assert not {row.source for row in held_out} & {row.source for row in trains}


def test_only_free_clips_train() -> None:
    clips = [row for row in training_rows(DATA) if row.fold]
    assert len(clips) == 1399
    assert {row.licence for row in clips} == {FREE}


def test_half_of_the_speech_and_the_backgrounds_is_kept_for_false_alarms() -> None:
    trains = {row.path for row in training_rows(DATA)}
    for rows in (speech(DATA), backgrounds(DATA)):
        assert [row.path in trains for row in rows] == [i % 2 == 0 for i in range(len(rows))]


def test_labels_are_those_of_esc50_in_order_then_speech_and_alarms() -> None:
    slugs = label_slugs(DATA)
    assert len(slugs) == 54
    assert (slugs[0], slugs[49]) == ("dog", "hand_saw")
    assert slugs[50:] == ("speech", "smoke_alarm", "co_alarm", "beep")
