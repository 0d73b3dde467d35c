"""Published text files as plain values; whatever is wrong with them is a DataError naming file, row and column."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from foundationx.errors import DataError, nearest

csv.field_size_limit(2**24)  # reports and run-length masks stand in single cells


class Row(NamedTuple):
    """One row of a table: where it stands (``findings.csv row 12``) and its cells by column, stripped of spaces."""

    where: str
    cells: dict[str, str]


class Table(NamedTuple):
    """A CSV file: its columns in order and its rows. Row 1 is the header, as in an editor."""

    name: str
    columns: tuple[str, ...]
    rows: list[Row]


def read_text(path: Path, name: str) -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: file to read.
        name: the file as it is called in messages.

    Raises:
        DataError: it is missing, empty or not UTF-8.
    """
    if not path.is_file():
        raise DataError(
            name, f"there is no such file ({path})", "the published file", "check root and file of the card"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            name, f"byte {error.start} is not UTF-8", "UTF-8 text", "download or convert it again"
        ) from None
    if not text.strip():
        raise DataError(name, "the file is empty", "the published file", "download it again")
    return text


def read_json(path: Path, name: str) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: it is missing, empty or not JSON.
    """
    try:
        return json.loads(read_text(path, name))
    except json.JSONDecodeError as error:
        where = f"{name} line {error.lineno}"
        raise DataError(where, error.msg, "valid JSON", "the file may be cut off: download it again") from None


def read_table(path: Path, name: str, required: Iterable[str]) -> Table:
    """A CSV file with a header. Columns without a name are passed over, spaces around names and cells too.

    Args:
        path: file to read.
        name: the file as it is called in messages.
        required: columns that must be there.

    Raises:
        DataError: it is missing, empty or not UTF-8, a named column stands twice, a required column is missing, or a
            row has fewer or more cells than the header.
    """
    reader = csv.reader(read_text(path, name).splitlines(keepends=True))
    try:
        header = [cell.strip() for cell in next(reader)]
        positions = _positions(header, name)
        _check_columns(positions, required, name)
        rows = []
        last = max(positions.values())
        for cells in reader:
            if any(cells):
                where = f"{name} row {reader.line_num}"
                if len(cells) <= last or (len(cells) > len(header) and any(cells[len(header) :])):
                    raise DataError(where, f"has {len(cells)} cells", f"{len(header)} as in the header", "mend the row")
                rows.append(Row(where, {column: cells[place].strip() for column, place in positions.items()}))
    except csv.Error as error:
        raise DataError(f"{name} row {reader.line_num}", str(error), "valid CSV", "mend the row") from None
    return Table(name, tuple(positions), rows)


def _positions(header: Sequence[str], name: str) -> dict[str, int]:
    """Where each named column stands."""
    positions: dict[str, int] = {}
    for place, column in enumerate(header):
        if column and column in positions:
            raise DataError(f"{name} row 1", f"the column {column!r} stands twice", "each column once", "rename one")
        if column:
            positions[column] = place
    if not positions:
        raise DataError(f"{name} row 1", "no column has a name", "a header", "add the published header")
    return positions


def _check_columns(columns: Iterable[str], required: Iterable[str], name: str) -> None:
    columns = list(columns)
    for column in required:
        if column not in columns:
            found = f"there is no column {column!r}; found {', '.join(map(repr, columns))}"
            raise DataError(f"{name} row 1", found, nearest(column, columns), "correct the card or the file")
