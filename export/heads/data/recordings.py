"""One's own labelled recordings: a folder for each label, or a table of onsets and offsets."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from detector.capture.recording import only_sound, open_audio
from detector.csv_table import CsvRow, read_csv
from detector.errors import AudioFileError, ConfigError
from detector.records import SAMPLE_RATE
from detector.slugs import slugify

BACKGROUND = "background"
"""The folder, or the label in a table, of recordings in which no label is heard."""
COLUMNS = ("filename", "onset", "offset", "label")
LABEL_COLUMNS = ("label", "event_label")
"""The second is what reference files of `detector evaluate` call it."""

_NO_SOUND = {
    *(".cfg", ".csv", ".db", ".htm", ".html", ".ini", ".jpg", ".json", ".log", ".md", ".pdf"),
    *(".png", ".py", ".rst", ".tsv", ".txt", ".url", ".xml", ".yaml", ".yml"),
}
"""Suffixes of what may lie among recordings. A file with any other must be one."""
_ROUNDING_S = 0.05
"""By so much may an offset lie beyond a recording's end."""
_SHOWN = 3
"""Names that a message lists before it only counts."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch in which a label is heard."""

    first_sample: int
    end_sample: int
    label: int
    """Index into the collection's labels."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and what is heard in it."""

    path: Path
    length: int
    """Samples at the analysis rate."""
    spans: tuple[Span, ...]
    """In their order in time; none in a background."""
    digest: str
    """SHA-256 of the file: copies of a recording are one source."""

    @property
    def labels(self) -> frozenset[int]:
        return frozenset(span.label for span in self.spans)

    @property
    def throughout(self) -> int | None:
        """The one label that the whole recording has, if there is one."""
        whole = len(self.spans) == 1 and self.spans[0] == Span(0, self.length, self.spans[0].label)
        return self.spans[0].label if whole else None


@dataclass(frozen=True, slots=True)
class Collection:
    """All recordings."""

    labels: tuple[str, ...]
    """As the person calls them, in alphabetical order."""
    recordings: tuple[Recording, ...]
    notes: tuple[str, ...]
    """What was done to recordings that are not as they should be, for the person to read."""

    @property
    def exclusive(self) -> bool:
        """Whether every recording is of one label throughout, so that labels exclude each other."""
        return all(recording.throughout is not None for recording in self.recordings)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a table, or a file in a folder."""

    path: Path
    label: str
    """Empty for a background."""
    where: str
    """For errors about it; empty for a file in a folder."""
    onset_s: float | None = None
    offset_s: float | None = None


def read_collection(data: Path) -> Collection:
    """Read a folder that has a folder for each label, or a table.

    A table is CSV with the columns filename (relative to the table), onset, offset (seconds; empty
    is the recording's beginning or end) and label. A recording of any rate and number of channels
    is heard as the detector would hear it.

    Raises:
        ConfigError: naming the folder, or the table's line and field, and what is wrong with it.
        AudioFileError: naming the recording.
    """
    if data.is_dir():
        rows, notes = _from_folders(data)
    elif data.is_file():
        rows, notes = list(_from_table(data)), []
    else:
        raise ConfigError(f"--data {data}: no such folder or file")
    labels = tuple(sorted({row.label for row in rows if row.label}))
    if not labels:
        raise ConfigError(f"--data {data}: has no label but {BACKGROUND!r}")
    by_file: dict[Path, list[_Row]] = {}
    for row in rows:
        by_file.setdefault(row.path, []).append(row)
    recordings = []
    for path, about in by_file.items():
        recording, odd = _read(path, about, labels)
        recordings.append(recording)
        notes += odd
    return Collection(labels, tuple(recordings), tuple(notes))


def display_name(label: str) -> str:
    """A label as people read it: `front_door` is "Front door"."""
    return label.replace("_", " ").capitalize() if label == slugify(label) else label


def _from_folders(data: Path) -> tuple[list[_Row], list[str]]:
    folders = [path for path in _entries(data) if path.is_dir()]
    if not folders:
        raise ConfigError(
            f"--data {data}: has no folders; put the recordings of each label into a folder that "
            f"is named as the label, and sounds that are none of them into {BACKGROUND!r}"
        )
    rows, ignored = [], []
    for folder in folders:
        files = [path for path in sorted(folder.rglob("*")) if _is_plain_file(folder, path)]
        ignored += [path for path in files if path.suffix.lower() in _NO_SOUND]
        sounds = [path for path in files if path.suffix.lower() not in _NO_SOUND]
        if not sounds:
            raise ConfigError(f"{folder}: the label {folder.name!r} has no recordings")
        if not slugify(folder.name):
            raise ConfigError(
                f"{folder}: a label needs a letter a-z or a digit in its name, which topics bear"
            )
        label = "" if slugify(folder.name) == BACKGROUND else folder.name
        rows += [_Row(path, label, "") for path in sounds]
    notes = [f"ignored, as no recordings: {_listed(ignored)}"] if ignored else []
    return rows, notes


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def _is_plain_file(folder: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden


def _from_table(table: Path) -> Iterator[_Row]:
    empty = True
    for row in read_csv(table, (*COLUMNS[:3], LABEL_COLUMNS)):
        empty = False
        yield _row(table, row)
    if empty:
        raise ConfigError(f"{table}: has a header and no rows")


def _row(table: Path, row: CsvRow) -> _Row:
    name, label = row["filename"], row["label"]
    if not name:
        raise ConfigError(f"{row.where}: filename is empty")
    if not slugify(label):
        raise row.error(
            "label",
            "a label needs a letter a-z or a digit; sound in which no label is heard is called "
            f"{BACKGROUND!r}",
        )
    path = table.parent / name
    if not path.is_file():
        raise row.error("filename", f"there is no file {path}")
    onset, offset = (row.seconds(x) if row[x] else None for x in ("onset", "offset"))
    if onset is not None and offset is not None and onset >= offset:
        raise ConfigError(f"{row.where}: onset = {onset:g} is not before offset = {offset:g}")
    label = "" if slugify(label) == BACKGROUND else label
    return _Row(path, label, row.where, onset, offset)


def _read(path: Path, rows: Sequence[_Row], labels: Sequence[str]) -> tuple[Recording, list[str]]:
    length, silent = 0, True
    with open_audio(path) as blocks:
        for block in only_sound(path, blocks):
            length += len(block.samples)
            silent = silent and not block.samples.any()
    if not length:
        raise AudioFileError(f"{path}: holds no sound: it is 0 s long")
    labelled = [row for row in rows if row.label]
    if labelled and silent:
        raise AudioFileError(
            f"{path}: holds digital silence alone; there is no {labelled[0].label!r} in it"
        )
    spans = {_span(row, length, labels.index(row.label)) for row in labelled}
    ordered = tuple(sorted(spans, key=lambda s: (s.first_sample, s.end_sample, s.label)))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Recording(path, length, ordered, digest), list(_oddities(path))


def _span(row: _Row, length: int, label: int) -> Span:
    seconds = length / SAMPLE_RATE
    for field, value in (("onset", row.onset_s), ("offset", row.offset_s)):
        slack = _ROUNDING_S if field == "offset" else 0.0
        if value is not None and (
            value > seconds + slack or (field == "onset" and value >= seconds)
        ):
            raise ConfigError(
                f"{row.where}: {field} = {value:g} is beyond the end of {row.path.name}, which "
                f"is {seconds:.3f} s long"
            )
    first = round((row.onset_s or 0.0) * SAMPLE_RATE)
    end = length if row.offset_s is None else min(length, round(row.offset_s * SAMPLE_RATE))
    return Span(min(first, length - 1), max(end, min(first, length - 1) + 1), label)


def _oddities(path: Path) -> Iterator[str]:
    found = soundfile.info(path)
    if found.samplerate != SAMPLE_RATE:
        lost = (
            f"; it holds nothing above {found.samplerate // 2} Hz, so take care that not all "
            "recordings of one label are like that"
            if found.samplerate < SAMPLE_RATE
            else ""
        )
        yield f"{path.name}: resampled from {found.samplerate} to {SAMPLE_RATE} Hz{lost}"
    if found.channels > 1:
        yield f"{path.name}: the mean of its {found.channels} channels is heard"


def _listed(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths[:_SHOWN])
    return names + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
