"""Reference files, and the mistakes that people make in them."""

from pathlib import Path

import pytest

from detector.errors import ConfigError
from detector.evaluation.reference import find_recordings, read_reference, within

HEADER = "filename,onset,offset,event_label\n"


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "reference.csv"
    path.write_bytes(text.encode(encoding))
    return path


def folder_with(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")
    return folder


def test_events_are_read_by_file(tmp_path: Path) -> None:
    text = HEADER + "a.wav,1,2.5,dog\nb.wav,0,1,owl\na.wav,3.25,4,dog\n"
    assert read_reference(table(tmp_path, text)) == {
        "a.wav": [(1.0, 2.5, "dog"), (3.25, 4.0, "dog")],
        "b.wav": [(0.0, 1.0, "owl")],
    }


def test_a_file_may_have_no_events(tmp_path: Path) -> None:
    assert read_reference(table(tmp_path, HEADER + "a.wav,,,\nb.wav\n")) == {
        "a.wav": [],
        "b.wav": [],
    }


@pytest.mark.parametrize(
    "text",
    [
        "filename\tonset\toffset\tevent_label\na.wav\t1\t2\tdog\n",  # as DCASE has them
        "event_label,note,filename,offset,onset\ndog,loud,a.wav,2,1\n",
        "\ufeff" + HEADER + "a.wav,1,2,dog\n",  # as a spreadsheet writes it
        HEADER.replace("\n", "\r\n") + "./a.wav, 1.0 , 2.0 , dog\r\n\r\n",
    ],
    ids=["tabs", "order", "byte order mark", "spaces and line ends"],
)
def test_tables_may_look_different(tmp_path: Path, text: str) -> None:
    assert read_reference(table(tmp_path, text)) == {"a.wav": [(1.0, 2.0, "dog")]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column filename, onset, offset, event_label"),
        ("filename,onset,event_label\n", "has no column offset; .*filename,onset,offset"),
        (HEADER + "a.wav,1,2,dog\na.wav,2,1,dog\n", r"line 3: the offset 1 does not come after"),
        (HEADER + "a.wav,1,1,dog\n", "line 2: the offset 1 does not come after the onset 1"),
        (HEADER + "a.wav,one,2,dog\n", "line 2: onset = 'one'"),
        (HEADER + "a.wav,-1,2,dog\n", "line 2: onset = '-1'"),
        (HEADER + "a.wav,1,nan,dog\n", "line 2: offset = 'nan'"),
        (HEADER + "a.wav,1,,dog\n", "line 2: offset = ''"),
        (HEADER + "a.wav,1,2,\n", "line 2: has no event_label"),
        (HEADER + ",1,2,dog\n", "line 2: has no filename"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_reference(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.csv: cannot be read: No such file"):
        read_reference(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_reference(table(tmp_path, HEADER + "hallå.wav,1,2,dog\n", "latin-1"))


class TestRecordings:
    def test_are_all_that_sound_below_the_folder_and_all_that_are_named(
        self, tmp_path: Path
    ) -> None:
        names = ("b.wav", "deep/er/a.FLAC", "notes.txt", "table.csv", ".hidden.wav", "odd.sound")
        folder = folder_with(tmp_path, *names)
        found = find_recordings(folder, {"b.wav": [], "odd.sound": []})
        assert list(found) == ["b.wav", "deep/er/a.FLAC", "odd.sound"]
        assert found["deep/er/a.FLAC"] == tmp_path / "deep" / "er" / "a.FLAC"

    def test_that_are_named_must_be_there(self, tmp_path: Path) -> None:
        folder = folder_with(tmp_path, "a.wav")
        with pytest.raises(ConfigError, match=r"has no 'b\.wav', which the reference names \(and"):
            find_recordings(folder, {"a.wav": [], "b.wav": [], "c.wav": []})

    def test_must_be_there_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="has no recordings"):
            find_recordings(folder_with(tmp_path, "notes.txt"), {})
        with pytest.raises(ConfigError, match=r"absent: is no folder"):
            find_recordings(tmp_path / "absent", {})


class TestWithin:
    def test_an_event_that_a_rounded_table_lets_outlast_its_recording_is_cut(self) -> None:
        assert within([(1.0, 10.0, "dog")], 9.7, "a.wav") == [(1.0, 9.7, "dog")]

    @pytest.mark.parametrize("event", [(9.7, 9.9, "dog"), (1.0, 100.0, "dog")])
    def test_an_event_beyond_the_end_is_refused(self, event: tuple[float, float, str]) -> None:
        with pytest.raises(ConfigError, match=r"a\.wav: dog from .* which ends at 9\.700 s"):
            within([event], 9.7, "a.wav")
