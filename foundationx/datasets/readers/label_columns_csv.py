"""CSV, one column a class: 1, 0, -1 (uncertain) or blank (CheXpert and its kin); one row an image or a reader."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError, nearest
from foundationx.datasets.readers._agreement import Agreement, agreed_labels
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Table

GIVES = frozenset({"labels"})

SOFT_LOW, SOFT_HIGH = 0.55, 0.85
"""Range of the soft labels of ``lsr_ones`` (``foundation_x.md`` section 4)."""

_SOFT, _WRONG = 2.0, 3.0
"""What a cell is until its image is known: a soft label to be drawn, or no label at all."""


class Options(ReaderOptions):
    """The image's column, and what blank and uncertain cells mean. The classes' published names are the columns."""

    image_column: str
    blank: Literal["unknown", "negative"] = "unknown"
    uncertain: Literal["ignore", "zeros", "ones", "lsr_ones"] = Field(
        "ignore", description="unknown, absent, present, or a soft label drawn once for image and class"
    )
    uncertain_value: float = -1.0
    reader_column: str | None = Field(None, description="names who read the image; one row a reader")
    agreement: Agreement = Field("majority", description="how many readers make a class present")


def read(source: Source, options: Options) -> None:
    """Adds every image. Columns are found by name; further columns are passed over.

    Raises:
        DataError: the column of a class is missing (or two of its published names are columns), a cell is no number in
            [0, 1] and not the uncertain value, an image is in two rows (of one reader).
    """
    who = [options.reader_column] if options.reader_column else []
    names = [name for published in source.published for name in published]
    table = source.table([options.image_column, *who], names)
    columns = [_column(published, table.columns, f"{table.name} row 1") for published in source.published]
    labels = np.stack([_values(table.cells[column], options) for column in columns], axis=1)
    if options.reader_column is None:
        _add_images(source, options, table, columns, labels)
    else:
        _add_agreed(source, options, table, columns, labels)


def _add_images(source: Source, options: Options, table: Table, columns: Sequence[str], labels: np.ndarray) -> None:
    odd = (labels > 1).any(axis=1)
    for index, row in enumerate(table.rows_of([options.image_column, *source.row_columns])):
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            if odd[index]:
                _settle(table, index, columns, labels[index], name, options)
            source.add(source.image(name, row.where, row.cells), row.where, labels[index], row.cells)


def _add_agreed(source: Source, options: Options, table: Table, columns: Sequence[str], labels: np.ndarray) -> None:
    rows = list(table.rows_of([options.image_column, options.reader_column, *source.row_columns]))
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.cells[options.image_column], []).append(index)
    for name, indices in groups.items():
        first = rows[indices[0]]
        with source.guard(first.where, name):
            readers: set[str] = set()
            for index in indices:
                reader, where = rows[index].cells[options.reader_column], rows[index].where
                if reader in readers:
                    raise DataError(where, f"{name} stands here again for {reader}", "one row a reader", "remove one")
                readers.add(reader)
                _settle(table, index, columns, labels[index], name, options)
            agreed = agreed_labels(labels[indices], options.agreement)
            source.add(source.image(name, first.where, first.cells), first.where, agreed, first.cells)


def _column(names: tuple[str, ...], columns: tuple[str, ...], where: str) -> str:
    """The one column among the published names of a class."""
    found = [name for name in names if name in columns]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(where, f"{' and '.join(map(repr, found))} are one class", "one column a class", "fix the card")
    shown = f"there is no column {' or '.join(map(repr, names))}; found {', '.join(map(repr, columns))}"
    raise DataError(where, shown, nearest(names[0], columns), "correct the card or the file")


def _values(cells: Sequence[str], options: Options) -> np.ndarray:
    """(N,) float32 of a column. A column holds few different cells: each is understood once."""
    values = {cell: _value(cell, options) for cell in set(cells)}
    return np.fromiter(map(values.__getitem__, cells), dtype=np.float32, count=len(cells))


def _value(cell: str, options: Options) -> float:
    if not cell:
        return 0.0 if options.blank == "negative" else np.nan
    try:
        value = float(cell)
    except ValueError:
        return _WRONG
    if value == options.uncertain_value:
        return {"ignore": np.nan, "zeros": 0.0, "ones": 1.0, "lsr_ones": _SOFT}[options.uncertain]
    return value if 0 <= value <= 1 else _WRONG


def _settle(table: Table, index: int, columns: Sequence[str], labels: np.ndarray, image: str, options: Options) -> None:
    """Draws the soft labels of a row, in place. Raises DataError where a cell is no label."""
    for k in np.flatnonzero(labels > 1):
        if labels[k] == _WRONG:
            expected = f"a number in [0, 1], {options.uncertain_value:g} or nothing"
            found = f"{columns[k]} is {table.cells[columns[k]][index]!r}"
            raise DataError(table.where(index), found, expected, "fix the row")
        labels[k] = _soft(image, columns[k])


def _soft(image: str, column: str) -> float:
    digest = hashlib.sha256(f"{image}|{column}".encode()).digest()
    return SOFT_LOW + (SOFT_HIGH - SOFT_LOW) * int.from_bytes(digest[:8], "big") / 2**64
