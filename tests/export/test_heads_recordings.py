"""One's own recordings are read as the detector hears them, or refused by name."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

from detector.errors import AudioFileError, ConfigError
from export.heads.data.recordings import Span, display_name, read_collection
from export.heads.data.split import split
from tests.export.tones import HZ, hiss, tone, tone_folders, write, write_table

pytestmark = pytest.mark.export


def test_a_folder_is_a_label_and_its_files_are_recordings_of_it(tmp_path: Path) -> None:
    collection = read_collection(tone_folders(tmp_path, each=2))
    assert collection.labels == ("high", "low", "middle")
    assert collection.exclusive
    assert not collection.notes
    found = {(r.path.parent.name, r.throughout) for r in collection.recordings}
    assert found == {("high", 0), ("low", 1), ("middle", 2)}


def test_recordings_in_the_folder_background_have_no_label(tmp_path: Path) -> None:
    collection = read_collection(tone_folders(tmp_path, each=1, background=2))
    assert collection.labels == tuple(sorted(HZ))
    assert not collection.exclusive
    assert sum(not recording.spans for recording in collection.recordings) == 2


def test_hidden_files_and_notes_among_recordings_are_passed_over(tmp_path: Path) -> None:
    tone_folders(tmp_path, each=1)
    (tmp_path / "low" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / ".git").mkdir()
    (tmp_path / "low" / "notes.txt").write_text("from the hall")
    collection = read_collection(tmp_path)
    assert len(collection.recordings) == 3
    assert collection.notes == ("ignored, as no recordings: notes.txt",)


def test_a_table_says_when_each_label_is_heard(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.wav", hiss(4.0))
    write(tmp_path / "2.wav", hiss(1.5))
    table = write_table(
        tmp_path / "t.csv",
        [
            ("a/1.wav", "2", "3.25", "Door bell"),
            ("a/1.wav", "0.5", "1", "knock"),
            ("2.wav", "", "", "knock"),
            ("2.wav", "1.0", "", "Door bell"),
            ("2.wav", "", "", "background"),
        ],
    )
    collection = read_collection(table)
    assert collection.labels == ("Door bell", "knock")
    one, two = collection.recordings
    assert one.spans == (Span(8000, 16_000, 1), Span(32_000, 52_000, 0))
    assert two.spans == (Span(0, 24_000, 1), Span(16_000, 24_000, 0))
    assert not collection.exclusive


def test_a_table_may_be_a_reference_of_evaluate(tmp_path: Path) -> None:
    write(tmp_path / "1.wav", hiss(2.0))
    header = ("filename", "onset", "offset", "event_label")
    table = write_table(tmp_path / "t.csv", [("1.wav", "0", "1", "bell")], header)
    assert read_collection(table).labels == ("bell",)


def test_an_offset_that_is_rounded_up_is_the_end(tmp_path: Path) -> None:
    write(tmp_path / "1.wav", hiss(2.0))
    table = write_table(tmp_path / "t.csv", [("1.wav", "1", "2.04", "bell")])
    assert read_collection(table).recordings[0].spans == (Span(16_000, 32_000, 0),)


def test_other_rates_and_channels_are_heard_and_noted(tmp_path: Path) -> None:
    write(tmp_path / "a" / "slow.wav", tone(300, 1, rate=8000), 8000)
    both = np.stack([tone(300, 1, rate=44_100), np.zeros(44_100, np.float32)], axis=1)
    write(tmp_path / "b" / "both.wav", both, 44_100)
    collection = read_collection(tmp_path)
    assert [r.length for r in collection.recordings] == [16_000, 16_000]
    notes = "\n".join(collection.notes)
    assert "slow.wav: resampled from 8000 to 16000 Hz; it holds nothing above 4000 Hz" in notes
    assert "both.wav: resampled from 44100 to 16000 Hz\n" in notes
    assert "both.wav: the mean of its 2 channels is heard" in notes


def test_display_name_is_that_of_the_person_where_it_is_no_slug() -> None:
    assert display_name("front_door") == "Front door"
    assert display_name("Türglocke (oben)") == "Türglocke (oben)"


BAD_ROWS = {
    "onset after offset": (("1.wav", "1.5", "1", "x"), r"line 3: onset = 1.5 .* offset = 1"),
    "onset is offset": (("1.wav", "1", "1", "x"), r"line 3: onset = 1 is not before offset = 1"),
    "beyond the end": (("1.wav", "0", "2.5", "x"), r"line 3: offset = 2.5 .* 1\.wav.* 2\.000 s"),
    "onset beyond": (("1.wav", "2", "", "x"), r"line 3: onset = 2 is beyond the end"),
    "no number": (("1.wav", "one", "2", "x"), r"line 3: onset = 'one': must be seconds"),
    "not finite": (("1.wav", "0", "inf", "x"), r"line 3: offset = 'inf'"),
    "negative": (("1.wav", "-1", "1", "x"), r"line 3: onset = '-1'"),
    "no label": (("1.wav", "", "", " "), r"line 3: label = ''"),
    "no letters": (("1.wav", "", "", "+/#"), r"line 3: label = '\+/#'"),
    "no file": (("0.wav", "", "", "x"), r"line 3: filename = '0.wav': there is no file"),
    "no filename": (("", "", "", "x"), r"line 3: filename is empty"),
    "too few fields": (("1.wav", "", ""), r"line 3: has \d fields, but there are 4 columns"),
    "too many": (("1.wav", "", "", "x", "y"), r"line 3: has \d fields, but there are 4 columns"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_wrong_row_is_named_by_its_line_and_field(case: str, tmp_path: Path) -> None:
    row, message = BAD_ROWS[case]
    write(tmp_path / "1.wav", hiss(2.0))
    table = write_table(tmp_path / "t.csv", [("1.wav", "", "", "fine"), row])
    with pytest.raises(ConfigError, match=rf"t\.csv: {message}"):
        read_collection(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"file,start,end,label\n", "has no column filename, onset, offset; .* and is 'file,start"),
        (b"filename;onset;offset;label\n", "has no column filename, .*filename;onset"),
        (b"", "first line must be filename,onset,offset,label"),
        (b"filename,onset,offset,label\n", "has a header and no rows"),
        (b"filename,onset,offset,label\n\xff,,,x\n", "is not UTF-8"),
        (b'filename,onset,offset,label\n"a,,,x\n', "is not CSV"),
    ],
)
def test_a_table_that_is_none_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(text)
    with pytest.raises(ConfigError, match=rf"t\.csv: .*{message}"):
        read_collection(table)


def broken(path: Path) -> None:
    path.write_bytes(b"RIFF" + os.urandom(200))


def empty_clip(path: Path) -> None:
    write(path, np.empty(0, np.float32))


def silent_clip(path: Path) -> None:
    write(path, np.zeros(16_000, np.float32))


def without_bytes(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("spoil", [broken, empty_clip, silent_clip, without_bytes])
def test_a_recording_that_holds_nothing_is_named(spoil: object, tmp_path: Path) -> None:
    tone_folders(tmp_path, each=1)
    assert callable(spoil)
    spoil(tmp_path / "low" / "bad.wav")
    with pytest.raises(AudioFileError, match=r"low/bad\.wav"):
        read_collection(tmp_path)


def test_a_file_that_may_be_a_recording_is_not_passed_over(tmp_path: Path) -> None:
    tone_folders(tmp_path, each=1)
    (tmp_path / "low" / "bell.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(100))
    with pytest.raises(AudioFileError, match=r"bell\.m4a.*WAV, FLAC"):
        read_collection(tmp_path)


def test_data_that_is_not_there_or_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        read_collection(tmp_path / "missing")
    with pytest.raises(ConfigError, match="has no folders"):
        read_collection(tmp_path)
    (tmp_path / "bell").mkdir()
    with pytest.raises(ConfigError, match="'bell' has no recordings"):
        read_collection(tmp_path)
    tone_folders(tmp_path / "quiet", labels=(), background=1)
    with pytest.raises(ConfigError, match="no label but 'background'"):
        read_collection(tmp_path / "quiet")
    (tmp_path / "odd" / "+#").mkdir(parents=True)
    write(tmp_path / "odd" / "+#" / "1.wav", hiss(1.0))
    with pytest.raises(ConfigError, match="needs a letter"):
        read_collection(tmp_path / "odd")


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_on_both_sides_and_no_recording_is(seed: int, tmp_path: Path) -> None:
    collection = read_collection(tone_folders(tmp_path, each=5, background=3))
    parts = split(collection, 0.2, seed)
    sides = [{r.digest for r in side} for side in (parts.fitted, parts.held_out)]
    assert not sides[0] & sides[1]
    assert len(parts.fitted) + len(parts.held_out) == 18
    for label in range(3):
        assert sum(label in r.labels for r in parts.held_out) == 1
    assert sum(not r.labels for r in parts.held_out) == 1


def test_copies_of_a_recording_stay_on_one_side(tmp_path: Path) -> None:
    tone_folders(tmp_path, each=3)
    for i in range(3):
        original = tmp_path / "low" / f"low-{i}.wav"
        (tmp_path / "low" / f"again-{i}.wav").write_bytes(original.read_bytes())
    parts = split(read_collection(tmp_path), 0.34, 0)
    assert not {r.digest for r in parts.fitted} & {r.digest for r in parts.held_out}
    assert sum(r.throughout == 1 for r in parts.held_out) == 2


def test_split_depends_on_the_seed_and_nothing_else(tmp_path: Path) -> None:
    collection = read_collection(tone_folders(tmp_path, each=6))
    names = [
        [{r.path.name for r in split(collection, 0.3, seed).held_out} for _ in range(2)]
        for seed in range(4)
    ]
    assert all(one == other for one, other in names)
    assert len({frozenset(one) for one, _ in names}) > 1


def test_a_label_of_one_recording_cannot_be_held_out(tmp_path: Path) -> None:
    tone_folders(tmp_path, each=2)
    (tmp_path / "low" / "low-1.wav").write_bytes((tmp_path / "low" / "low-0.wav").read_bytes())
    with pytest.raises(ConfigError, match="'low' is heard in one recording alone"):
        split(read_collection(tmp_path), 0.2, 0)


def test_labels_that_are_only_heard_together_leave_one_of_each(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.wav", hiss(3.0, i))
    rows = [(f"{i}.wav", "0", "1", name) for i in range(3) for name in ("a", "b")]
    parts = split(read_collection(write_table(tmp_path / "t.csv", rows)), 0.5, 0)
    assert {label for r in parts.fitted for label in r.labels} == {0, 1}
    assert {label for r in parts.held_out for label in r.labels} == {0, 1}


@pytest.mark.parametrize("seed", range(8))
def test_no_label_is_held_out_whole(seed: int, tmp_path: Path) -> None:
    for i in range(1, 5):
        write(tmp_path / f"{i}.wav", hiss(2.0, i))
    heard = [("1.wav", "a"), ("2.wav", "a"), ("2.wav", "b"), ("3.wav", "b"), ("4.wav", "b")]
    rows = [(name, "0", "1", label) for name, label in heard]
    parts = split(read_collection(write_table(tmp_path / "t.csv", rows)), 0.5, seed)
    assert {label for r in parts.fitted for label in r.labels} == {0, 1}
    assert {label for r in parts.held_out for label in r.labels} == {0, 1}


def test_labels_that_leave_each_other_no_recording_are_named(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.wav", hiss(2.0, i))
    rows = [(f"{(i + j) % 3}.wav", "0", "1", "abc"[i]) for i in range(3) for j in range(2)]
    with pytest.raises(ConfigError, match="no recording of the label 'b' can be held out"):
        split(read_collection(write_table(tmp_path / "t.csv", rows)), 0.5, 0)
