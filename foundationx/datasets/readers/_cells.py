"""Cells of delimited text, found with NumPy in blocks of many rows.

A block is regular if the csv module would find the same cells by looking at delimiters, line ends and pairs of quotes
alone; that is nearly always so. Any other block is left to the csv module.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

MAX_CELL = 2**24
"""Maximum characters of a cell: reports and run-length masks are single cells."""

SAMPLE, MAX_DISTINCT = 1000, 0.5
"""First cells of a block to look at, and the fraction of distinct ones up to which equal cells share a string."""

SHORT = 8
"""Maximum bytes of a short cell, which is compared as one number."""

MAX_CODES = 256
"""Maximum distinct short cells of a column that is kept as codes."""

_LINE_END, _RETURN, _SPACE, _QUOTE = 10, 13, 32, 34
_SPACES = np.zeros(256, dtype=bool)
_SPACES[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = True
_MASKS = np.array([2 ** (8 * count) - 1 for count in range(SHORT + 1)], dtype=np.uint64)
_EDGES = np.zeros(256, dtype=bool)
_EDGES[[0, 10, 32, 44, 59]] = True  # begin and end of the text, of a line, a further space, comma and semicolon
_RARE_SPACES = tuple(bytes([space]) for space in (9, 11, 12, 13, 28, 29, 30, 31))

_NOT_ASCII = np.uint64(0x8080808080808080)

Convert = Callable[[list[bytes]], list[Any]]
"""Makes the values of a column of its cells, one block at a time."""


class Coded(Sequence[str]):
    """A column of few distinct cells: a code per row.

    Attributes:
        codes: Index of each row's cell, (N,) uint8.
        distinct: The cells.
    """

    __slots__ = ("codes", "distinct")

    def __init__(self, codes: np.ndarray, distinct: Sequence[str]):
        self.codes, self.distinct = codes, distinct

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return map(self.distinct.__getitem__, self.codes.tolist())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Coded: ...
    def __getitem__(self, index: int | slice) -> str | Coded:
        if isinstance(index, slice):
            return Coded(self.codes[index], self.distinct)
        return self.distinct[self.codes[index]]


def count(cells: Sequence[str]) -> dict[str, int]:
    """Number of rows with each cell of a column."""
    if not isinstance(cells, Coded):
        return Counter(cells)
    counts = np.bincount(cells.codes, minlength=len(cells.distinct))
    return {cells.distinct[code]: int(counts[code]) for code in np.flatnonzero(counts)}


def mapped(cells: Sequence[str], values: Mapping[str, float]) -> np.ndarray:
    """(N,) float32, the value of each row's cell.

    Args:
        cells: Column with N rows.
        values: Value of each cell that the column has.
    """
    if isinstance(cells, Coded):
        return np.array([values.get(cell, np.nan) for cell in cells.distinct], dtype=np.float32)[cells.codes]
    return np.fromiter(map(values.__getitem__, cells), dtype=np.float32, count=len(cells))


def are_among(cells: Sequence[str], accepted: Collection[str]) -> np.ndarray:
    """(N,) bool, whether each cell of a column is accepted."""
    if isinstance(cells, Coded):
        return np.array([cell in accepted for cell in cells.distinct], dtype=bool)[cells.codes]
    return np.fromiter((cell in accepted for cell in cells), dtype=bool, count=len(cells))


def distinct(cells: Sequence[str]) -> Iterable[str]:
    """Every cell of a column once, and possibly some that it has not."""
    return cells.distinct if isinstance(cells, Coded) else set(cells)


def take(cells: Sequence[Any], rows: np.ndarray) -> Sequence[Any]:
    """The cells of some rows."""
    if isinstance(cells, Coded):
        return Coded(cells.codes[rows], cells.distinct)
    return [cells[row] for row in rows.tolist()]


class ColumnBuilder:
    """A column that grows block by block: codes while its cells are short and few, else strings.

    Args:
        convert: Makes other values than strings of the cells.
    """

    def __init__(self, convert: Convert | None = None):
        self._convert = convert
        self._known: np.ndarray = np.zeros(0, dtype=np.uint64)
        self._code_of: np.ndarray = np.zeros(0, dtype=np.uint8)
        self._distinct: list[str] = []
        self._codes: list[np.ndarray] | None = None if convert else []
        self._values: list[Any] = []

    def add_block(self, block: Block, position: int) -> None:
        """Adds the cells of one column of a regular block."""
        bounds = block.bounds(position)
        if self._convert is not None:
            self._values += self._convert(block.bytes(bounds))
        elif self._codes is not None and (codes := self._encoded(block.words(bounds))) is not None:
            self._codes.append(codes)
        else:
            self._add_strings(block.strings(bounds))

    def add_cells(self, cells: Sequence[str]) -> None:
        """Adds cells that the csv module has found."""
        if self._convert is not None:
            self._values += self._convert([cell.strip().encode() for cell in cells])
        else:
            self._add_strings([cell.strip() for cell in cells])

    def finish(self) -> Sequence[Any]:
        """The whole column."""
        if not self._codes:
            return self._values
        return Coded(np.concatenate(self._codes), self._distinct)

    def _add_strings(self, cells: list[str]) -> None:
        """Adds strings; equal cells share one: labels of a million rows are a handful of strings."""
        if self._codes is not None:
            self._values = [cell for codes in self._codes for cell in Coded(codes, self._distinct)]
            self._codes = None
        first = cells[:SAMPLE]
        if len(set(first)) <= MAX_DISTINCT * len(first):
            shared = {cell: sys.intern(cell) for cell in set(cells)}
            cells = list(map(shared.__getitem__, cells))
        self._values += cells

    def _encoded(self, words: np.ndarray | None) -> np.ndarray | None:
        """Codes of short cells; None if they are too long or too many."""
        if words is None:
            return None
        found = self._positions(words)
        if found is None:
            new = np.setdiff1d(words, self._known)
            if len(self._known) + len(new) > MAX_CODES:
                return None
            self._distinct += [sys.intern(int(word).to_bytes(SHORT, "little").rstrip(b"\0").decode()) for word in new]
            known = np.concatenate([self._known, new])
            codes = np.concatenate([self._code_of, np.arange(len(self._known), len(known), dtype=np.uint8)])
            order = np.argsort(known)
            self._known, self._code_of = known[order], codes[order]
            found = self._positions(words)
        return None if found is None else self._code_of[found]

    def _positions(self, words: np.ndarray) -> np.ndarray | None:
        """Positions in the known words; None if one is new."""
        if not len(self._known):
            return None
        found = np.minimum(np.searchsorted(self._known, words), len(self._known) - 1)
        return found if np.array_equal(self._known[found], words) else None


@dataclass(slots=True)
class _Bounds:
    """Where the cells of one column begin and end; ``doubled`` cells contain two quotes that mean one."""

    starts: np.ndarray
    ends: np.ndarray
    doubled: np.ndarray | None


class Block:
    """Rows of equally many cells.

    Attributes:
        text: The text if it is ASCII, else None.
        line_count: Lines of the text.

    Args:
        data: Text in UTF-8.
        ends: Where each cell ends, (C, R).
        starts: Where each row starts, (R,).
        lines: Lines of text up to the end of each row, (R,).
        doubled: Positions of the second of two quotes that mean one; None if nothing is quoted.
    """

    def __init__(
        self,
        data: bytes,
        line_count: int,
        ends: np.ndarray,
        starts: np.ndarray,
        lines: np.ndarray,
        doubled: np.ndarray | None,
    ):
        self.data, self.line_count, self.lines = data, line_count, lines
        self._array = np.frombuffer(data + bytes(SHORT), dtype=np.uint8)
        self._words: np.ndarray = np.ndarray(len(data) + 1, dtype="<u8", buffer=self._array, strides=(1,))
        self._ends, self._starts, self._doubled = ends, starts, doubled
        self._has_spaces = doubled is not None or _has_outer_spaces(data, self._array)
        self.text = data.decode("ascii") if data.isascii() else None

    def __len__(self) -> int:
        return len(self.lines)

    def bounds(self, position: int) -> _Bounds:
        """Where the cells of a column lie, without quotes and without ASCII spaces around them."""
        starts = self._starts if position == 0 else self._ends[position - 1] + 1
        ends = self._ends[position]
        doubled = None
        if self._doubled is not None:
            quoted = self._array[starts] == _QUOTE
            if quoted.any():
                ends = ends - (self._array[ends - 1] == _RETURN) if position == len(self._ends) - 1 else ends
                doubled = np.searchsorted(self._doubled, starts) < np.searchsorted(self._doubled, ends)
                starts, ends = starts + quoted, ends - quoted
        return _Bounds(*self._stripped(starts, ends), doubled)

    def _stripped(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self._has_spaces:
            return starts, ends
        while (space := _SPACES[self._array[starts]] & (starts < ends)).any():
            starts = starts + space
        while (space := _SPACES[self._array[ends - 1]] & (starts < ends)).any():
            ends = ends - space
        return starts, ends

    def words(self, bounds: _Bounds) -> np.ndarray | None:
        """Short cells as numbers, (R,) uint64; None if one is longer or not ASCII."""
        lengths = bounds.ends - bounds.starts
        if lengths.max(initial=0) > SHORT or (bounds.doubled is not None and bounds.doubled.any()):
            return None
        words = self._words[bounds.starts] & _MASKS[lengths]
        return None if (words & _NOT_ASCII).any() else words

    def strings(self, bounds: _Bounds) -> list[str]:
        """Cells as strings, without spaces around them."""
        pairs = zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True)
        if self.text is not None:
            text = self.text
            cells = [text[start:end] for start, end in pairs]
        else:
            data = self.data
            cells = [data[start:end].decode().strip() for start, end in pairs]
        if bounds.doubled is not None:
            for index in np.flatnonzero(bounds.doubled).tolist():
                cells[index] = cells[index].replace('""', '"').strip()
        return cells

    def bytes(self, bounds: _Bounds) -> list[bytes]:
        """Cells as bytes, without spaces around them."""
        if self.text is None or bounds.doubled is not None:
            return [cell.encode() for cell in self.strings(bounds)]
        data = self.data
        return [data[start:end] for start, end in zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True)]


def _has_outer_spaces(data: bytes, array: np.ndarray) -> bool:
    """Whether a cell may have spaces around it: a space that is not between two other letters."""
    if any(space in data for space in _RARE_SPACES):
        return True
    if b" " not in data:
        return False
    spaces = np.flatnonzero(array == _SPACE)
    return bool((_EDGES[array[spaces - 1]] | _EDGES[array[spaces + 1]]).any())


def last_row_end(data: bytes) -> int:
    """Where the last complete row ends, judged by line ends outside of quotes; 0 if there is none."""
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    array = np.frombuffer(data, dtype=np.uint8)
    breaks = np.flatnonzero(array == _LINE_END)
    outside = breaks[np.searchsorted(np.flatnonzero(array == _QUOTE), breaks) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def regular_block(data: bytes, delimiter: int, width: int) -> Block | None:
    """The rows of a text that ends with a line end, without empty ones; None if the block is not regular.

    Args:
        data: Text in UTF-8.
        delimiter: The delimiter's byte.
        width: Cells of each row.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    is_break = array == _LINE_END
    if len(data) > MAX_CELL or b"\0" in data or (b"\r" in data and ((array == _RETURN)[:-1] > is_break[1:]).any()):
        return None
    marks = np.flatnonzero(is_break | (array == delimiter))
    quotes = np.flatnonzero(array == _QUOTE) if b'"' in data else None
    doubled = None
    if quotes is not None:
        if not _regular_quotes(array, quotes, delimiter):
            return None
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
        doubled = quotes[1:][(np.diff(quotes) == 1) & (np.arange(1, len(quotes)) % 2 == 0)]
    last = np.flatnonzero(is_break[marks])
    counts = np.diff(last, prepend=-1)
    ends = marks[last]
    starts = np.concatenate([[0], ends[:-1] + 1])
    breaks = ends if quotes is None else np.flatnonzero(is_break)
    lines = np.searchsorted(breaks, ends) + 1 if quotes is not None else np.arange(1, len(ends) + 1)
    lengths = ends - starts - ((array[ends - 1] == _RETURN) & (ends > starts))
    blank = lengths == counts - 1
    if quotes is not None and _only_quotes(quotes, starts, ends, lengths - counts + 1):
        return None
    if blank.any():
        marks = marks[np.repeat(~blank, counts)]
        counts, starts, lines = counts[~blank], starts[~blank], lines[~blank]
    if (counts != width).any():
        return None
    return Block(data, len(breaks), np.ascontiguousarray(marks.reshape(-1, width).T), starts, lines, doubled)


def _regular_quotes(array: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether quotes are in pairs around whole cells; two of them inside a quoted cell mean one."""
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before, after = array[opening - 1], array[closing + 1]  # the last byte is a line end, also before the first one
    opens = (before == delimiter) | (before == _LINE_END)
    opens[1:] |= closing[:-1] + 1 == opening[1:]
    closes = (after == delimiter) | (after == _LINE_END) | (after == _RETURN) | (after == _QUOTE)
    return bool(opens.all() and closes.all())


def _only_quotes(quotes: np.ndarray, starts: np.ndarray, ends: np.ndarray, letters: np.ndarray) -> bool:
    """Whether a row has nothing but delimiters and quotes, and may be empty."""
    inside = np.searchsorted(quotes, ends) - np.searchsorted(quotes, starts)
    return bool(((inside == letters) & (inside > 0)).any())
