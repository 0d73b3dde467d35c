"""Published tables, streamed and stored by columns: only the requested columns take memory."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from foundationx.core.errors import DataError, nearest
from foundationx.datasets.cards.tasks import TableFormat
from foundationx.datasets.readers._files import empty, open_text

csv.field_size_limit(2**24)  # reports and run-length masks are single cells

CHUNK = 10_000
"""Rows that are converted to columns at once."""

MAX_LINES = 10_000_000
"""Maximum lines of a table, including empty ones; the largest published ones have some hundred thousand."""

MAX_DISTINCT = 0.5
"""Fraction of distinct cells in a chunk up to which equal cells share one string."""

CSV = TableFormat()

_BREAK = re.compile("\r\n|\r|\n")
_Chunk = tuple[Sequence[int], Sequence[Sequence[str]]]
"""The line on which each row ends, and the cells of the rows."""


class Row(NamedTuple):
    """One row of a table: its location (``findings.csv row 12``) and its cells by column, stripped of spaces."""

    where: str
    cells: dict[str, str]


@dataclass
class Table:
    """A table by columns.

    Attributes:
        name: Name of the file in messages.
        columns: All names of the header, in order; not all of them were read.
        lines: Line of each row, counted from 1 as in an editor.
        cells: Cells of the columns that were read.
    """

    name: str
    columns: tuple[str, ...]
    lines: list[int] = field(default_factory=list)
    cells: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, index: int) -> str:
        """Location of a row, for messages."""
        return f"{self.name} row {self.lines[index]}"

    @property
    def rows(self) -> Iterator[Row]:
        """The rows, with all columns that were read."""
        return self.rows_of(self.cells)

    def rows_of(self, columns: Iterable[str]) -> Iterator[Row]:
        """The rows, with some of the columns."""
        columns = tuple(columns)
        values = zip(*(self.cells[column] for column in columns), strict=True) if columns else iter([()] * len(self))
        for line, cells in zip(self.lines, values, strict=True):
            yield Row(f"{self.name} row {line}", dict(zip(columns, cells, strict=True)))

    def select_rows(self, values: Mapping[str, Sequence[str]]) -> Table:
        """The rows whose cells are among ``values`` in each of the columns."""
        allowed = {column: frozenset(accepted) for column, accepted in values.items()}
        return self._take(
            index
            for index in range(len(self))
            if all(self.cells[column][index] in accepted for column, accepted in allowed.items())
        )

    def drop_rows(self, patterns: Mapping[str, str]) -> Table:
        """The rows without those of which a cell matches the regular expression of its column."""
        dropped = {
            column: {cell for cell in set(self.cells[column]) if re.fullmatch(pattern, cell)}
            for column, pattern in patterns.items()
        }
        return self._take(
            index
            for index in range(len(self))
            if not any(self.cells[column][index] in cells for column, cells in dropped.items())
        )

    def _take(self, indices: Iterable[int]) -> Table:
        kept = list(indices)
        cells = {column: [values[index] for index in kept] for column, values in self.cells.items()}
        return Table(self.name, self.columns, [self.lines[index] for index in kept], cells)


def read_header(path: Path, name: str, layout: TableFormat = CSV) -> tuple[str, ...]:
    """Column names of a table, in order. Raises DataError like :func:`read_table`."""
    with _records(path, name, layout) as (_, header):
        return tuple(_positions(header, name))


def read_table(
    path: Path, name: str, required: Iterable[str], optional: Iterable[str] = (), layout: TableFormat = CSV
) -> Table:
    """Reads a table, ignoring columns without a name, empty rows, and spaces around names and cells.

    Args:
        path: File to read; ``.gz`` is unpacked.
        name: Name of the file in messages.
        required: Columns that the file must have.
        optional: Columns to read if the file has them.
        layout: Delimiter and header.

    Raises:
        DataError: The file is missing, empty or not UTF-8, a column name is repeated, a required column is missing, or
            a row has fewer or more cells than the header.
    """
    with _records(path, name, layout) as (chunks, header):
        positions = _positions(header, name)
        check_columns(positions, required, name)
        columns = [column for column in dict.fromkeys([*required, *optional]) if column in positions]
        table = Table(name, tuple(positions), cells={column: [] for column in columns})
        for lines, rows in chunks:
            if not any(map(any, rows)):
                continue
            if not all(map(any, rows)):
                kept = [(line, row) for line, row in zip(lines, rows, strict=True) if any(row)]
                lines, rows = [line for line, _ in kept], [row for _, row in kept]
            table.lines.extend(lines)
            _append(table, rows, positions, len(header))
    return table


def check_columns(columns: Iterable[str], required: Iterable[str], name: str) -> None:
    """Raises DataError if columns are missing; names all of them."""
    columns = list(columns)
    missing = [column for column in dict.fromkeys(required) if column not in columns]
    if missing:
        absent = f"is no column {missing[0]!r}" if len(missing) == 1 else f"are no columns {_quoted(missing)}"
        found = f"there {absent}; found {_quoted(columns)}"
        raise DataError(f"{name} row 1", found, nearest(missing[0], columns), "correct the card or the file")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


@contextmanager
def _records(path: Path, name: str, layout: TableFormat) -> Iterator[tuple[Iterator[_Chunk], list[str]]]:
    """The rows in chunks, and the header."""
    with open_text(path, name) as stream:
        delimiter = "\t" if layout.delimiter == "tab" else layout.delimiter
        spaces = layout.delimiter == "whitespace"
        reader = _SpaceSeparated(stream) if spaces else csv.reader(stream, delimiter=delimiter)
        try:
            if layout.header is not None:
                yield _chunks(reader, name), list(layout.header)
                return
            first = next((cells for cells in reader if len(cells) > 1 or any(map(str.strip, cells))), None)
            if first is None:
                raise empty(name)
            yield _chunks(reader, name), [cell.strip() for cell in first]
        except csv.Error as error:
            raise DataError(f"{name} row {reader.line_num}", str(error), "valid CSV", "fix the row") from None


class _SpaceSeparated:
    """Reads cells separated by spaces, as csv.reader does for other delimiters."""

    def __init__(self, stream: TextIO):
        self._stream, self.line_num = stream, 0

    def __iter__(self) -> _SpaceSeparated:
        return self

    def __next__(self) -> list[str]:
        cells = next(self._stream).split()
        self.line_num += 1
        return cells


def _chunks(reader: Any, name: str) -> Iterator[_Chunk]:
    """Rows, many at a time: asking for the line number after each row would take as long as reading it."""
    while True:
        before = reader.line_num
        rows = list(itertools.islice(reader, CHUNK))
        if not rows:
            return
        if reader.line_num > MAX_LINES:
            raise DataError(name, f"has more than {MAX_LINES:,} lines", "the published table", "download it again")
        yield _lines(before, reader.line_num, rows), rows


def _lines(before: int, last: int, rows: Sequence[Sequence[str]]) -> Sequence[int]:
    """The line on which each row ends; a cell may contain line breaks."""
    if last - before == len(rows):
        return range(before + 1, last + 1)
    spans = (1 + sum(len(_BREAK.findall(cell)) for cell in row) for row in rows)
    return list(itertools.accumulate(spans, initial=before))[1:]


def _positions(header: Sequence[str], name: str) -> dict[str, int]:
    """Index of each named column."""
    positions: dict[str, int] = {}
    for index, column in enumerate(header):
        if column and column in positions:
            raise DataError(f"{name} row 1", f"the column {column!r} is given twice", "unique names", "rename one")
        if column:
            positions[column] = index
    if not positions:
        raise DataError(f"{name} row 1", "no column has a name", "a header", "add the published header")
    return positions


def _append(table: Table, chunk: Sequence[Sequence[str]], positions: dict[str, int], width: int) -> None:
    """Appends rows to the columns. Equal cells share one string: labels of a million rows are a handful of strings."""
    if not chunk:
        return
    last = max(positions.values())
    if set(map(len, chunk)) != {width}:
        _check_widths(table, chunk, last, width)
    columns = list(zip(*chunk, strict=False))  # rows may end in empty cells that the header does not name
    for column, cells in table.cells.items():
        values = columns[positions[column]]
        distinct = set(values)
        if len(distinct) > MAX_DISTINCT * len(values):
            cells.extend(map(str.strip, values))
            continue
        shared = {cell: sys.intern(cell.strip()) for cell in distinct}
        cells.extend(map(shared.__getitem__, values))


def _check_widths(table: Table, chunk: Sequence[Sequence[str]], last: int, width: int) -> None:
    for cells, line in zip(chunk, table.lines[-len(chunk) :], strict=True):
        if len(cells) <= last or any(cells[width:]):
            where = f"{table.name} row {line}"
            raise DataError(where, f"has {len(cells)} cells", f"{width} as in the header", "fix the row")


def join_tables(table: Table, other: Table, on: Sequence[str], missing: str) -> Table:
    """Joins the columns of another table to a table.

    Args:
        table: Table with one or more rows per key.
        other: Table with one row per key.
        on: Columns that form the key; read in both tables.
        missing: Treatment of a row of ``table`` without a match: ``error`` or ``leave_out``.

    Raises:
        DataError: A key is repeated in ``other``, or a row has no match.
    """
    matches = _match_rows(table, other, on)
    kept = [(index, match) for index, match in enumerate(matches) if match is not None]
    if missing == "error" and len(kept) < len(matches):
        index = matches.index(None)
        shown = _shown(on, tuple(table.cells[column][index] for column in on))
        fix = "complete the file, or set missing: leave_out in the card's join"
        raise DataError(table.where(index), f"{other.name} has no row with {shown}", "a row for each key", fix)
    joined = Table(table.name, table.columns + tuple(c for c in other.columns if c not in table.columns))
    joined.lines = [table.lines[index] for index, _ in kept]
    joined.cells = {column: [cells[index] for index, _ in kept] for column, cells in table.cells.items()}
    for column, cells in other.cells.items():
        if column not in on:
            joined.cells[column] = [cells[match] for _, match in kept]
    return joined


def _match_rows(table: Table, other: Table, on: Sequence[str]) -> list[int | None]:
    """Index of the row of ``other`` that matches each row of ``table``. Raises DataError if a key is repeated."""
    rows: dict[tuple[str, ...], int] = {}
    for index, key in enumerate(zip(*(other.cells[column] for column in on), strict=True)):
        if rows.setdefault(key, index) != index:
            found = f"{_shown(on, key)} is repeated, first in row {other.lines[rows[key]]}"
            raise DataError(other.where(index), found, "each key once", "remove one of the rows")
    return [rows.get(key) for key in zip(*(table.cells[column] for column in on), strict=True)]


def _shown(on: Sequence[str], key: Sequence[str]) -> str:
    return ", ".join(f"{column} {value!r}" for column, value in zip(on, key, strict=True))


def group_by_image(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    """Rows by image, in the order of the images' first rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.cells[column], []).append(row)
    return groups
