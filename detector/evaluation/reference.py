"""Reference files: what truly sounds in which recording, and when."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from detector.csv_table import CsvRow, read_csv
from detector.errors import ConfigError
from detector.evaluation.detections import TrueEvent

COLUMNS: Final = ("filename", "onset", "offset", "event_label")
SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
_ROUNDING_S: Final = 1.0
"""Tables are often made in whole seconds."""

TrueEvents = dict[str, list[TrueEvent]]
"""File name, as in the reference -> its events; a file without events has an empty list."""


def read_reference(path: Path) -> TrueEvents:
    """Read a table with the columns filename, onset, offset (seconds) and event_label.

    Commas or tabs stand between the fields; further columns are ignored. A row with nothing but a
    filename says that nothing sounds in that file.

    Raises:
        ConfigError: naming the file, the line and what is wrong with it.
    """
    events: TrueEvents = {}
    for row in read_csv(path, COLUMNS, short_rows=True):
        _add(events, row)
    return events


def _add(events: TrueEvents, row: CsvRow) -> None:
    filename, label = row["filename"], row["event_label"]
    if not filename:
        raise ConfigError(f"{row.where}: has no filename")
    of_file = events.setdefault(PurePosixPath(filename).as_posix(), [])
    if not (row["onset"] or row["offset"] or label):
        return
    if not label:
        raise ConfigError(f"{row.where}: has no event_label")
    onset_s, offset_s = row.seconds("onset"), row.seconds("offset")
    if offset_s <= onset_s:
        raise ConfigError(
            f"{row.where}: the offset {row['offset']} does not come after the onset {row['onset']}"
        )
    of_file.append((onset_s, offset_s, label))


def find_recordings(folder: Path, reference: TrueEvents) -> dict[str, Path]:
    """The recordings below a folder, by their name relative to it, in alphabetical order.

    Besides those that the reference names, they are all files that are sound by their suffix:
    nothing sounds in them.

    Raises:
        ConfigError: there is no such folder, none is in it, or one that the reference names is not.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder")
    found = {path.relative_to(folder).as_posix(): path for path in _sounds(folder)}
    absent = []
    for name in reference:
        path = folder / name
        if name not in found and path.is_file():
            found[name] = path
        elif name not in found:
            absent.append(name)
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise ConfigError(f"{folder}: has no {absent[0]!r}, which the reference names{more}")
    if not found:
        raise ConfigError(f"{folder}: has no recordings")
    return dict(sorted(found.items()))


def _sounds(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file():
            yield path


def within(events: Sequence[TrueEvent], end_s: float, where: str) -> list[TrueEvent]:
    """The events of a recording, none of which lasts longer than it does; tables round.

    Raises:
        ConfigError: an event lies beyond the end by more than rounding explains.
    """
    for onset, offset, label in events:
        if onset >= end_s or offset > end_s + _ROUNDING_S:
            raise ConfigError(
                f"{where}: {label} from {onset} s to {offset} s is not within the recording, "
                f"which ends at {end_s:.3f} s"
            )
    return [(onset, min(offset, end_s), label) for onset, offset, label in events]
