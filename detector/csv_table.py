"""Tables in CSV files: the rows by column, and mistakes named with file, line and column."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A line of a table."""

    where: str
    """File and line, for errors."""
    values: Mapping[str, str]
    """By column, without blanks around them."""
    names: Mapping[str, str]
    """What the table calls the columns."""

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def seconds(self, column: str) -> float:
        """A time from the beginning of a recording.

        Raises:
            ConfigError: it is something else.
        """
        try:
            seconds = float(self.values[column])
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and seconds >= 0):
            raise self.error(column, "must be seconds from the recording's beginning")
        return seconds

    def error(self, column: str, what: str) -> ConfigError:
        """That the value of a column is wrong."""
        return ConfigError(f"{self.where}: {self.names[column]} = {self.values[column]!r}: {what}")


def read_csv(
    path: Path, columns: Sequence[Sequence[str] | str], *, short_rows: bool = False
) -> Iterator[CsvRow]:
    """Read a table whose first line names its columns.

    Commas or tabs stand between the fields. Further columns are ignored, and so are empty lines.

    Args:
        path: a UTF-8 file, with or without a byte order mark.
        columns: that there must be. Where there are several names for one, the first of them that
            the table has counts, and rows have its value by the first name.
        short_rows: let the last fields of a row be left out; they are empty then.

    Raises:
        ConfigError: the file cannot be read, is not CSV, lacks a column, or has a row with
            another number of fields.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error}") from None
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        places = _places(path, header, columns)
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            missing = len(header) - len(row)
            if missing < 0 or (missing and row and not short_rows):
                raise ConfigError(
                    f"{where}: has {len(row)} fields, but there are {len(header)} columns"
                )
            if row:
                fields = [*(field.strip() for field in row), *([""] * missing)]
                values = {name: fields[place] for name, place in places.items()}
                yield CsvRow(where, values, {name: header[at] for name, at in places.items()})
    except csv.Error as error:
        raise ConfigError(f"{path}: line {rows.line_num}: is not CSV: {error}") from None


def _places(
    path: Path, header: Sequence[str], columns: Sequence[Sequence[str] | str]
) -> dict[str, int]:
    places = {}
    missing = []
    for column in columns:
        names = [column] if isinstance(column, str) else column
        found = next((name for name in names if name in header), None)
        if found is None:
            missing.append(" or ".join(names))
        else:
            places[names[0]] = header.index(found)
    if missing:
        wanted = ",".join(column if isinstance(column, str) else column[0] for column in columns)
        raise ConfigError(
            f"{path}: has no column {', '.join(missing)}; its first line must be {wanted}, "
            f"and is {','.join(header)!r}"
        )
    return places
