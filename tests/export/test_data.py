"""What trains, and what must not."""

import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

from export.train.data.recordings import (
    FREE,
    HELD_OUT,
    backgrounds,
    esc50,
    label_slugs,
    permissive,
    rooms,
    speech,
    training_rows,
)
from export.train.release.excerpts import counted

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
    assert len(slugs) == 56
    assert (slugs[0], slugs[49]) == ("dog", "hand_saw")
    assert slugs[50:54] == ("speech", "smoke_alarm", "co_alarm", "beep")
    assert slugs[54:] == ("low_battery_chirp", "music")


def test_only_permissive_excerpts_of_rooms_train_and_no_single_sound_does() -> None:
    excerpts = [row for row in training_rows(DATA) if row.kind]
    assert {row.kind for row in excerpts} == {"music", "voices", "ambience"}
    assert all(permissive(row.licence) for row in excerpts)
    assert not {row.path for row in excerpts} & {row.path for row in counted(DATA)}
    assert {row.path for row in (*excerpts, *counted(DATA))} == {row.path for row in rooms(DATA)}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("CC0-1.0", True), ("CC-BY-4.0", True), ("CC-BY-SA-3.0", False), ("GPL-2.0-only", False)],
)
def test_what_is_shared_alike_or_not_for_sale_trains_nothing(
    licence: str, *, expected: bool
) -> None:
    assert permissive(licence) == expected
