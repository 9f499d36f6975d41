"""Reference files: what truly sounds in which recording, and when."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error}") from None
    header, _, _ = text.partition("\n")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in header else ",")
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(
            f"{path}: has no column {', '.join(missing)}; "
            f"its first line must be {','.join(COLUMNS)}"
        )
    events: TrueEvents = {}
    try:
        for row in rows:
            fields = [(row[column] or "").strip() for column in COLUMNS]
            _add(events, fields, f"{path}: line {rows.line_num}")
    except csv.Error as error:
        raise ConfigError(f"{path}: line {rows.line_num}: {error}") from None
    return events


def _add(events: TrueEvents, fields: list[str], where: str) -> None:
    filename, onset, offset, label = fields
    if not filename:
        raise ConfigError(f"{where}: has no filename")
    of_file = events.setdefault(PurePosixPath(filename).as_posix(), [])
    if not (onset or offset or label):
        return
    if not label:
        raise ConfigError(f"{where}: has no event_label")
    begin = _seconds(onset, f"{where}: onset")
    end = _seconds(offset, f"{where}: offset")
    if end <= begin:
        raise ConfigError(f"{where}: the offset {offset} does not come after the onset {onset}")
    of_file.append((begin, end, label))


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ConfigError(f"{where} = {text!r}: must be seconds from the recording's beginning")
    return seconds


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
