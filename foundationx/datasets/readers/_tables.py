"""Published tables, read block by block and stored by columns: only the requested columns take memory."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foundationx.core.errors import DataError, nearest
from foundationx.datasets.cards.tasks import DerivedColumn, TableFormat
from foundationx.datasets.readers._cells import (
    MAX_CELL,
    Block,
    ColumnBuilder,
    Convert,
    are_among,
    distinct,
    last_row_end,
    regular_block,
    take,
)
from foundationx.datasets.readers._files import empty, open_bytes
from foundationx.datasets.readers._paths import plain_path

csv.field_size_limit(MAX_CELL)

CHUNK = 2**22
"""Bytes that are read at once."""

MAX_LINES = 10_000_000
"""Maximum lines of a table, including empty ones; the largest published ones have some hundred thousand."""

CSV = TableFormat()

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One row of a table: its location (``findings.csv row 12``) and its cells by column, stripped of spaces."""

    where: str
    cells: dict[str, Any]


@dataclass
class Table:
    """A table by columns.

    Attributes:
        name: Name of the file in messages.
        columns: All names of the header, in order; not all of them were read.
        lines: Line of each row, counted from 1 as in an editor, (N,) int32.
        cells: Cells of the columns that were read: strings, or what was made of them.
    """

    name: str
    columns: tuple[str, ...]
    lines: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    cells: dict[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, index: int) -> str:
        """Location of a row, for messages."""
        return f"{self.name} row {self.lines[index]}"

    @property
    def rows(self) -> Iterator[Row]:
        """The rows, with all columns that were read."""
        return self.rows_of(self.cells)

    def row(self, index: int, columns: Iterable[str] | None = None) -> Row:
        """One row, with some of the columns; None: all that were read."""
        names = self.cells if columns is None else columns
        return Row(self.where(index), {column: self.cells[column][index] for column in names})

    def rows_of(self, columns: Iterable[str]) -> Iterator[Row]:
        """The rows, with some of the columns."""
        columns = tuple(columns)
        values = zip(*(self.cells[column] for column in columns), strict=True) if columns else iter([()] * len(self))
        for line, cells in zip(self.lines.tolist(), values, strict=True):
            yield Row(f"{self.name} row {line}", dict(zip(columns, cells, strict=True)))

    def select_rows(self, values: Mapping[str, Sequence[str]]) -> Table:
        """The rows whose cells are among ``values`` in each of the columns."""
        kept = np.ones(len(self), dtype=bool)
        for column, accepted in values.items():
            kept &= are_among(self.cells[column], frozenset(accepted))
        return self.take(np.flatnonzero(kept))

    def drop_rows(self, patterns: Mapping[str, str]) -> Table:
        """The rows without those of which a cell matches the regular expression of its column."""
        kept = np.ones(len(self), dtype=bool)
        for column, pattern in patterns.items():
            cells = self.cells[column]
            matching = frozenset(cell for cell in distinct(cells) if re.fullmatch(pattern, cell))
            kept &= ~are_among(cells, matching)
        return self.take(np.flatnonzero(kept))

    def take(self, rows: np.ndarray) -> Table:
        """Some of the rows."""
        cells = {column: take(values, rows) for column, values in self.cells.items()}
        return Table(self.name, self.columns, self.lines[rows], cells)


def read_header(path: Path, name: str, layout: TableFormat = CSV) -> tuple[str, ...]:
    """Column names of a table, in order. Raises DataError like :func:`read_table`."""
    with _opened(path, name, layout) as (_, header):
        return (*_positions(header, name), *([layout.row_column] if layout.row_column is not None else []))


def read_table(
    path: Path,
    name: str,
    required: Iterable[str],
    optional: Iterable[str] = (),
    layout: TableFormat = CSV,
    convert: Mapping[str, Convert] | None = None,
) -> Table:
    """Reads a table, ignoring columns without a name, empty rows, and spaces around names and cells.

    Args:
        path: File to read; ``.gz`` is unpacked.
        name: Name of the file in messages.
        required: Columns that the file must have.
        optional: Columns to read if the file has them.
        layout: Delimiter and header.
        convert: Columns whose cells become other values than strings, block by block.

    Raises:
        DataError: The file is missing, empty or not UTF-8, a column name is repeated, a required column is missing, or
            a row has fewer or more cells than the header.
    """
    with _opened(path, name, layout) as (rows, header):
        positions = _positions(header, name)
        required = [column for column in required if column != layout.row_column]
        check_columns(positions, required, name)
        columns = [column for column in dict.fromkeys([*required, *optional]) if column in positions]
        builders = {column: ColumnBuilder((convert or {}).get(column)) for column in columns}
        lines: list[np.ndarray] = []
        for block in rows.blocks(len(header)):
            if isinstance(block, Block):
                for column, builder in builders.items():
                    builder.add_block(block, positions[column])
            elif len(block.lines):
                _check_widths(name, block, max(positions.values()), len(header))
                cells = list(zip(*block.rows, strict=False))  # rows may end in empty cells that the header lacks
                for column, builder in builders.items():
                    builder.add_cells(cells[positions[column]])
            lines.append(np.asarray(block.lines, dtype=np.int32))
    table = Table(name, tuple(positions))
    if lines:
        table.lines = np.concatenate(lines)
    table.cells = {column: builder.finish() for column, builder in builders.items()}
    if layout.row_column is not None:
        table.columns += (layout.row_column,)
        table.cells[layout.row_column] = list(map(str, range(len(table.lines))))
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
def _opened(path: Path, name: str, layout: TableFormat) -> Iterator[tuple[_Rows, list[str]]]:
    """The rows of a table, to be read block by block, and its header."""
    with open_bytes(path, name) as stream:
        rows = _Rows(stream, name, layout.delimiter)
        for _ in range(layout.skip):
            rows.header()
        header = list(layout.header) if layout.header is not None else rows.header()
        yield rows, _numbered(header) if layout.repeated == "number" else header


def _numbered(header: Sequence[str]) -> list[str]:
    """Column names, with ``.1``, ``.2`` ... behind those that were given before."""
    seen: Counter[str] = Counter()
    names = []
    for name in header:
        names.append(f"{name}.{seen[name]}" if name and seen[name] else name)
        seen[name] += 1
    return names


@dataclass(slots=True)
class _CsvRows:
    """Rows as the csv module finds them, without empty ones, and the line on which each ends."""

    lines: list[int]
    rows: list[list[str]]


class _Rows:
    """The rows of a table.

    Args:
        stream: The file.
        name: Name of the file in messages.
        delimiter: ``tab``, ``whitespace`` or a character.
    """

    def __init__(self, stream: io.BufferedReader, name: str, delimiter: str):
        self._stream, self._name = stream, name
        self._delimiter = "\t" if delimiter == "tab" else delimiter
        self._line = 0
        self._rest = stream.read(len(BYTE_ORDER_MARK))
        if self._rest == BYTE_ORDER_MARK:
            self._rest = b""

    def header(self) -> list[str]:
        """The first row with content. Raises DataError if there is none.

        If it has no comma, but semicolons or tabs, these delimit the cells, as spreadsheets of many countries write.
        """
        data = self._read()
        first = next((line for line in data.splitlines() if line.strip()), b"")
        if self._delimiter == "," and b"," not in first:
            self._delimiter = next((other for other in (";", "\t") if other.encode() in first), ",")
        with self._reading(data) as (reader, _):
            for cells in reader:
                if len(cells) > 1 or any(map(str.strip, cells)):
                    return [cell.strip() for cell in cells]
        raise empty(self._name)

    def blocks(self, width: int) -> Iterator[Block | _CsvRows]:
        """The other rows.

        Args:
            width: Cells of the header.
        """
        while data := self._read():
            block = None
            if len(self._delimiter) == 1:
                closed = data if data.endswith(b"\n") else data + b"\n"
                end = last_row_end(closed)
                block = regular_block(closed[:end], ord(self._delimiter), width) if end else None
            if block is None:
                yield self._csv_rows(data)
            else:
                if block.text is None:
                    data[:end].decode()  # raises if it is not UTF-8
                self._rest = data[end:]
                block.lines = block.lines + self._line
                self._line += block.line_count
                yield block
            if self._line > MAX_LINES:
                found = f"has more than {MAX_LINES:,} lines"
                raise DataError(self._name, found, "the published table", "download it again")

    def _read(self) -> bytes:
        """The next lines."""
        data = self._rest + self._stream.read(CHUNK)
        self._rest = b""
        return data if data.endswith(b"\n") else data + self._stream.readline()

    def _csv_rows(self, data: bytes) -> _CsvRows:
        """The rows that begin in some lines; the last one may go on behind them."""
        lines, rows = [], []
        with self._reading(data) as (reader, source):
            before = self._line
            while source.pending:
                try:
                    cells = next(reader)
                except StopIteration:
                    break
                if any(cells):
                    lines.append(before + reader.line_num)
                    rows.append(cells)
        return _CsvRows(lines, rows)

    @contextmanager
    def _reading(self, data: bytes) -> Iterator[tuple[Any, _Lines]]:
        """A reader of some lines and those that follow; what it leaves is read next."""
        source = _Lines(data, self._stream)
        spaces = self._delimiter == "whitespace"
        reader = _SpaceSeparated(source) if spaces else csv.reader(source, delimiter=self._delimiter)
        try:
            yield reader, source
        except csv.Error as error:
            where = f"{self._name} row {self._line + reader.line_num}"
            raise DataError(where, str(error), "valid CSV", "fix the row") from None
        self._line += reader.line_num
        self._rest = source.rest()


class _Lines:
    """Lines of text: first those of some bytes, then those of a stream."""

    def __init__(self, data: bytes, stream: io.BufferedReader):
        self._stream = stream
        self._lines = data.splitlines(keepends=True)
        self._next = 0

    @property
    def pending(self) -> bool:
        """Whether lines are left without reading on."""
        return self._next < len(self._lines)

    def rest(self) -> bytes:
        """The lines that are left."""
        return b"".join(self._lines[self._next :])

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if not self.pending:
            self._lines, self._next = self._stream.readline().splitlines(keepends=True), 0
            if not self._lines:
                raise StopIteration
        self._next += 1
        return self._lines[self._next - 1].decode()


class _SpaceSeparated:
    """Reads cells separated by spaces, as csv.reader does for other delimiters."""

    def __init__(self, lines: Iterator[str]):
        self._lines, self.line_num = lines, 0

    def __iter__(self) -> _SpaceSeparated:
        return self

    def __next__(self) -> list[str]:
        cells = next(self._lines).split()
        self.line_num += 1
        return cells


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


def _check_widths(name: str, block: _CsvRows, last: int, width: int) -> None:
    """Raises DataError for a row with fewer cells than named columns, or more than the header."""
    for cells, line in zip(block.rows, block.lines, strict=True):
        if len(cells) <= last or any(cells[width:]):
            raise DataError(f"{name} row {line}", f"has {len(cells)} cells", f"{width} as in the header", "fix the row")


def add_derived(table: Table, name: str, derived: DerivedColumn) -> None:
    """Adds a column made of another one; replaces a column of that name.

    Raises:
        DataError: A cell has another form than the card gives.
    """
    before, behind = derived.ends
    values = []
    for index, cell in enumerate(table.cells[derived.column]):
        if not (cell.startswith(before) and cell.endswith(behind) and len(cell) > len(before) + len(behind)):
            found = f"{derived.column} is {cell!r}"
            raise DataError(
                table.where(index), found, derived.form, "fix the row, or correct table.derived in the card"
            )
        values.append(cell[len(before) : len(cell) - len(behind)])
    table.cells[name] = values
    if name not in table.columns:
        table.columns += (name,)


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
    kept = np.flatnonzero(matches >= 0)
    if missing == "error" and len(kept) < len(matches):
        index = int(np.argmin(matches))
        shown = _shown(on, tuple(table.cells[column][index] for column in on))
        fix = "complete the file, or set missing: leave_out in the card's join"
        raise DataError(table.where(index), f"{other.name} has no row with {shown}", "a row for each key", fix)
    joined, matching = table.take(kept), other.take(matches[kept])
    joined.columns += tuple(column for column in other.columns if column not in table.columns)
    joined.cells |= {column: cells for column, cells in matching.cells.items() if column not in on}
    return joined


def _match_rows(table: Table, other: Table, on: Sequence[str]) -> np.ndarray:
    """Index of the row of ``other`` for each row of ``table``, -1 if none. Raises DataError if a key is repeated."""
    rows: dict[tuple[str, ...], int] = {}
    for index, key in enumerate(zip(*(other.cells[column] for column in on), strict=True)):
        if rows.setdefault(key, index) != index:
            found = f"{_shown(on, key)} is repeated, first in row {other.lines[rows[key]]}"
            raise DataError(other.where(index), found, "each key once", "remove one of the rows")
    keys = zip(*(table.cells[column] for column in on), strict=True)
    return np.array([rows.get(key, -1) for key in keys], dtype=np.int64)


def _shown(on: Sequence[str], key: Sequence[str]) -> str:
    return ", ".join(f"{column} {value!r}" for column, value in zip(on, key, strict=True))


def group_by_image(table: Table, column: str) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each image, in the order of the images' first rows; ``./a.png`` and ``a.png`` are one image."""
    groups: dict[str, int | list[int]] = {}
    for index, name in enumerate(table.cells[column]):
        path = plain_path(name)
        known = groups.setdefault(path, index)
        if isinstance(known, list):
            known.append(index)
        elif known != index:
            groups[path] = [known, index]
    for name, rows in groups.items():
        yield name, [table.row(index) for index in ([rows] if isinstance(rows, int) else rows)]
