"""Published tables, read in a stream and held by columns: only the columns that are asked for take memory."""

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

csv.field_size_limit(2**24)  # reports and run-length masks stand in single cells

CHUNK = 10_000
"""Rows that are turned into columns at once."""

MAX_LINES = 10_000_000
"""Lines of a table, empty ones too; the largest published ones have some hundred thousand."""

FEW = 0.5
"""Share of different cells up to which equal cells of a chunk are worth finding."""

CSV = TableFormat()

_BREAK = re.compile("\r\n|\r|\n")
_Chunk = tuple[Sequence[int], Sequence[Sequence[str]]]
"""Lines on which rows end, and the rows' cells."""


class Row(NamedTuple):
    """One row of a table: where it stands (``findings.csv row 12``) and its cells by column, stripped of spaces."""

    where: str
    cells: dict[str, str]


@dataclass
class Table:
    """A table by columns.

    Attributes:
        name: of the file, for messages.
        columns: all names of the header, in order; not all of them were read.
        lines: line of each row, counted from 1 as in an editor.
        cells: the columns that were read.
    """

    name: str
    columns: tuple[str, ...]
    lines: list[int] = field(default_factory=list)
    cells: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, index: int) -> str:
        """Place of a row."""
        return f"{self.name} row {self.lines[index]}"

    @property
    def rows(self) -> Iterator[Row]:
        """The rows one by one, with the columns that were read."""
        return self.rows_of(self.cells)

    def rows_of(self, columns: Iterable[str]) -> Iterator[Row]:
        """The rows with some of the columns."""
        columns = tuple(columns)
        values = zip(*(self.cells[column] for column in columns), strict=True) if columns else iter([()] * len(self))
        for line, cells in zip(self.lines, values, strict=True):
            yield Row(f"{self.name} row {line}", dict(zip(columns, cells, strict=True)))

    def where_in(self, values: Mapping[str, Sequence[str]]) -> Table:
        """The table with only those rows whose cells are among ``values`` in each of these columns."""
        allowed = {column: frozenset(cells) for column, cells in values.items()}
        kept = [
            index
            for index in range(len(self))
            if all(self.cells[column][index] in cells for column, cells in allowed.items())
        ]
        cells = {column: [found[index] for index in kept] for column, found in self.cells.items()}
        return Table(self.name, self.columns, [self.lines[index] for index in kept], cells)


def read_header(path: Path, name: str, layout: TableFormat = CSV) -> tuple[str, ...]:
    """Names of a table's columns in order. Raises DataError as :func:`read_table`."""
    with _records(path, name, layout) as (_, header):
        return tuple(_positions(header, name))


def read_table(
    path: Path, name: str, required: Iterable[str], optional: Iterable[str] = (), layout: TableFormat = CSV
) -> Table:
    """A table. Columns without a name are passed over, spaces around names and cells too, empty rows as well.

    Args:
        path: file to read; ``.gz`` is unpacked.
        name: the file as it is called in messages.
        required: columns that must be there.
        optional: columns to read where they are there.
        layout: delimiter and header.

    Raises:
        DataError: it is missing, empty or not UTF-8, a named column stands twice, a required column is missing, or a
            row has fewer or more cells than the header.
    """
    with _records(path, name, layout) as (chunks, header):
        positions = _positions(header, name)
        check_columns(positions, required, name)
        wanted = [column for column in dict.fromkeys([*required, *optional]) if column in positions]
        table = Table(name, tuple(positions), cells={column: [] for column in wanted})
        for lines, rows in chunks:
            if not any(map(any, rows)):
                continue
            if not all(map(any, rows)):
                kept = [(line, row) for line, row in zip(lines, rows, strict=True) if any(row)]
                lines, rows = [line for line, _ in kept], [row for _, row in kept]
            table.lines.extend(lines)
            _take(table, rows, positions, len(header))
    return table


def check_columns(columns: Iterable[str], required: Iterable[str], name: str) -> None:
    """Raises DataError where columns are missing; names all of them."""
    columns = list(columns)
    missing = [column for column in dict.fromkeys(required) if column not in columns]
    if missing:
        which = f"is no column {missing[0]!r}" if len(missing) == 1 else f"are no columns {_quoted(missing)}"
        found = f"there {which}; found {_quoted(columns)}"
        raise DataError(f"{name} row 1", found, nearest(missing[0], columns), "correct the card or the file")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


@contextmanager
def _records(path: Path, name: str, layout: TableFormat) -> Iterator[tuple[Iterator[_Chunk], list[str]]]:
    """The rows by chunks, and the header."""
    with open_text(path, name) as stream:
        spaced = layout.delimiter == "whitespace"
        delimiter = "\t" if layout.delimiter == "tab" else layout.delimiter
        reader = _Spaced(stream) if spaced else csv.reader(stream, delimiter=delimiter)
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


class _Spaced:
    """Reads cells that are apart by spaces, as csv.reader does for other delimiters."""

    def __init__(self, stream: TextIO):
        self._stream, self.line_num = stream, 0

    def __iter__(self) -> _Spaced:
        return self

    def __next__(self) -> list[str]:
        cells = next(self._stream).split()
        self.line_num += 1
        return cells


def _chunks(reader: Any, name: str) -> Iterator[_Chunk]:
    """Rows, many at a time: asking for the line after each would take as long as reading it."""
    while True:
        before = reader.line_num
        rows = list(itertools.islice(reader, CHUNK))
        if not rows:
            return
        if reader.line_num > MAX_LINES:
            raise DataError(name, f"has more than {MAX_LINES:,} lines", "the published table", "download it again")
        yield _lines(before, reader.line_num, rows), rows


def _lines(before: int, last: int, rows: Sequence[Sequence[str]]) -> Sequence[int]:
    """The line on which each row ends; a cell may hold line breaks."""
    if last - before == len(rows):
        return range(before + 1, last + 1)
    spans = (1 + sum(len(_BREAK.findall(cell)) for cell in row) for row in rows)
    return list(itertools.accumulate(spans, initial=before))[1:]


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


def _take(table: Table, chunk: list[Sequence[str]], positions: dict[str, int], width: int) -> None:
    """Adds rows to the columns. Equal cells become one string: labels of a million rows are a handful of strings."""
    if not chunk:
        return
    last = max(positions.values())
    if set(map(len, chunk)) != {width}:
        _check_widths(table, chunk, last, width)
    by_place = list(zip(*chunk, strict=False))  # rows may end in empty cells that the header does not name
    for column, cells in table.cells.items():
        found = by_place[positions[column]]
        different = set(found)
        if len(different) > FEW * len(found):
            cells.extend(map(str.strip, found))
            continue
        shared = {cell: sys.intern(cell.strip()) for cell in different}
        cells.extend(map(shared.__getitem__, found))


def _check_widths(table: Table, chunk: list[Sequence[str]], last: int, width: int) -> None:
    for cells, line in zip(chunk, table.lines[-len(chunk) :], strict=True):
        if len(cells) <= last or any(cells[width:]):
            where = f"{table.name} row {line}"
            raise DataError(where, f"has {len(cells)} cells", f"{width} as in the header", "fix the row")


def join_tables(table: Table, other: Table, on: Sequence[str], missing: str) -> Table:
    """The first table with the columns of the other laid beside it.

    Args:
        table: one or more rows for each key.
        other: one row for each key.
        on: columns that both have read.
        missing: ``error`` or ``leave_out``: what becomes of a row of ``table`` that has no partner.

    Raises:
        DataError: a key stands twice in ``other``, a row has no partner, or a column stands in both.
    """
    partners: dict[tuple[str, ...], int] = {}
    for index, key in enumerate(zip(*(other.cells[column] for column in on), strict=True)):
        if partners.setdefault(key, index) != index:
            where, first = other.where(index), other.lines[partners[key]]
            raise DataError(where, f"{_shown(on, key)} stands here again, first in row {first}", "each once", "fix it")
    keys = zip(*(table.cells[column] for column in on), strict=True)
    picks = [partners.get(key) for key in keys]
    kept = [index for index, pick in enumerate(picks) if pick is not None]
    if missing == "error" and len(kept) < len(picks):
        index = picks.index(None)
        shown = _shown(on, tuple(table.cells[column][index] for column in on))
        fix = "complete the file, or let the card's join leave such rows out"
        raise DataError(table.where(index), f"{other.name} has no row with {shown}", "a row for each", fix)
    joined = Table(table.name, table.columns + tuple(c for c in other.columns if c not in table.columns))
    joined.lines = [table.lines[index] for index in kept]
    joined.cells = {column: [cells[index] for index in kept] for column, cells in table.cells.items()}
    for column, cells in other.cells.items():
        if column not in on:
            joined.cells[column] = [cells[picks[index]] for index in kept]
    return joined


def _shown(on: Sequence[str], key: Sequence[str]) -> str:
    return ", ".join(f"{column} {value!r}" for column, value in zip(on, key, strict=True))


def group_by_image(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    """Rows of each image, images in the order of their first row."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.cells[column], []).append(row)
    return groups
