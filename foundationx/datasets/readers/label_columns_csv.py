"""CSV with one column per class: 1, 0, -1 (uncertain) or blank, as in CheXpert; one row per image, or per reader."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from foundationx.core.errors import DataError, nearest
from foundationx.datasets.readers._agreement import Agreement, agreed_labels
from foundationx.datasets.readers._cells import are_among, count, mapped
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Table

PROVIDES = frozenset({"labels"})

SOFT_LOW, SOFT_HIGH = 0.55, 0.85
"""Range of the soft labels of ``lsr_ones`` (label smoothing regularization, as in Foundation X)."""

_SOFT, _INVALID = 2.0, 3.0
"""Marks of cells until the image is processed: a soft label to be drawn, or an invalid label."""


class Options(ReaderOptions):
    """Column of the image, and the meaning of blank and uncertain cells. Published class names are columns."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    blank: Literal["unknown", "negative"] = Field("unknown", description="meaning of an empty cell")
    blank_row: Literal["blank", "unknown"] = Field(
        "blank",
        description="meaning of a row without any label: that of its blank cells, or that the image was not labelled, "
        "as in a table with a column for no finding",
    )
    uncertain: Literal["ignore", "zeros", "ones", "lsr_ones"] = Field(
        "ignore", description="unknown, absent, present, or a soft label drawn once per image and class"
    )
    uncertain_value: float = Field(-1.0, examples=[-9.0], description="the number of an uncertain label")
    words: dict[str, Literal["present", "absent", "unknown"]] = Field(
        default_factory=dict, description="meaning of cells that are words, e.g. {YES: present, NO: absent}"
    )
    present_from: float | None = Field(
        None, description="cells are grades, and a class is present from this one on; null: cells are labels in [0, 1]"
    )
    absent_to: float = Field(
        0.0, description="a class is absent up to this grade, and unknown between it and present_from"
    )
    digits_column: str | None = Field(
        None,
        description="column with the grades of all classes, one digit each in the order of the card's classes; leading "
        "zeros may be missing. Classes then need no columns",
        examples=["score"],
    )
    several_columns: Literal["error", "mean"] = Field(
        "error",
        description="meaning of several published names of a class that are all columns: mean of their grades, as of "
        "the columns of two readers",
    )
    reader_column: str | None = Field(None, description="column of the readers' names; one row per image and reader")
    agreement: Agreement = Field("majority", description="how many readers make a class present")

    @model_validator(mode="after")
    def _digits_are_grades(self) -> Options:
        if self.digits_column is not None and self.present_from is None:
            raise ValueError("digits_column needs present_from, the grade from which on a class is present")
        return self

    @model_validator(mode="after")
    def _grades_are_ordered(self) -> Options:
        if self.present_from is not None and self.absent_to >= self.present_from:
            raise ValueError(f"absent_to {self.absent_to:g} is not below present_from {self.present_from:g}")
        return self


def read(source: Source, options: Options) -> None:
    """Adds every image. Columns are matched by name; other columns are ignored.

    Raises:
        DataError: The column of a class is missing (or two of its published names are columns), a cell is neither a
            label nor the uncertain value nor a word that the options name, or an image is in two rows (of one reader).
    """
    table, columns, labels = read_labels(source, options)
    if options.reader_column is None:
        _add_images(source, options, table, columns, labels)
    else:
        _add_agreed(source, options, options.reader_column, table, columns, labels)


def read_labels(source: Source, options: Options, more: Sequence[str] = ()) -> tuple[Table, list[str], np.ndarray]:
    """The table, the column of each class, and the labels (N, K), with marks for what :func:`resolve` settles.

    Args:
        source: Source with the table.
        options: Columns and the meaning of their cells.
        more: Further columns to read.

    Raises:
        DataError: The column of a class is missing, or two of its published names are columns.
    """
    needed = [options.image_column, *([options.reader_column] if options.reader_column else []), *more]
    if options.digits_column is not None:
        table = source.table([*needed, options.digits_column])
        columns = [options.digits_column] * len(source.classes)
        labels = _digits(table.cells[options.digits_column], len(columns), options)
    else:
        names = [name for published in source.published for name in published]
        table = source.table(needed, names)
        columns = [_column_of(published, table, options) for published in source.published]
        labels = np.stack([_values(source, table.cells[column], options) for column in columns], axis=1)
    if options.blank_row == "unknown":
        blank = np.ones(len(labels), dtype=bool)
        for column in columns:
            blank &= are_among(table.cells[column], {""})
        labels[blank] = np.nan
    return table, columns, labels


def _add_images(source: Source, options: Options, table: Table, columns: Sequence[str], labels: np.ndarray) -> None:
    unresolved = np.asarray((labels > 1).any(axis=1))

    def add_row(index: int) -> None:
        row = table.row(index, [options.image_column, *source.row_columns])
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            if unresolved[index]:
                resolve(table, index, columns, labels[index], name, options)
            source.add(source.image(name, row.where, row.cells), row.where, labels[index], row.cells)

    source.add_rows(table, options.image_column, labels, add_row, special=unresolved)


def _add_agreed(
    source: Source, options: Options, reader_column: str, table: Table, columns: Sequence[str], labels: np.ndarray
) -> None:
    rows = list(table.rows_of([options.image_column, reader_column, *source.row_columns]))
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.cells[options.image_column], []).append(index)
    for name, indices in groups.items():
        first = rows[indices[0]]
        with source.guard(first.where, name):
            readers: set[str] = set()
            for index in indices:
                reader, where = rows[index].cells[reader_column], rows[index].where
                if reader in readers:
                    raise DataError(where, f"{name} is repeated for {reader}", "one row per reader", "remove one")
                readers.add(reader)
                resolve(table, index, columns, labels[index], name, options)
            agreed = agreed_labels(labels[indices], options.agreement)
            source.add(source.image(name, first.where, first.cells), first.where, agreed, first.cells)


def _column_of(names: tuple[str, ...], table: Table, options: Options) -> str:
    """The column of a class; the mean of several grades is a column that is added to the table. Raises DataError."""
    present = [name for name in names if name in table.columns]
    if len(present) < 2 or options.several_columns == "error":
        return _column(names, table.columns, f"{table.name} row 1")
    name = f"mean of {' and '.join(present)}"
    table.cells[name] = [_mean(cells) for cells in zip(*(table.cells[one] for one in present), strict=True)]
    return name


def _mean(cells: Sequence[str]) -> str:
    """The mean of grades as a cell; an empty cell makes it empty, and one that is no number stands for it."""
    try:
        return "" if "" in cells else f"{sum(map(float, cells)) / len(cells):g}"
    except ValueError:
        return " and ".join(cells)


def _column(names: tuple[str, ...], columns: tuple[str, ...], where: str) -> str:
    """The one column among the published names of a class."""
    present = [name for name in names if name in columns]
    if len(present) == 1:
        return present[0]
    if present:
        found = f"{' and '.join(map(repr, present))} are one class"
        fix = "correct the card, or set several_columns: mean in the reader's options"
        raise DataError(where, found, "one column per class", fix)
    found = f"there is no column {' or '.join(map(repr, names))}; found {', '.join(map(repr, columns))}"
    raise DataError(where, found, nearest(names[0], columns), "correct the card or the file")


def _values(source: Source, cells: Sequence[str], options: Options) -> np.ndarray:
    """Labels (N,) float32 of a column. A column has few distinct cells, and each is parsed once."""
    counts = count(cells)
    values = {cell: _value(cell, options) for cell in counts}
    source.strings.absent.update({cell: counts[cell] for cell, value in values.items() if value == 0})
    source.strings.unknown.update({cell: counts[cell] for cell, value in values.items() if np.isnan(value)})
    return mapped(cells, values)


def _digits(cells: Sequence[str], classes: int, options: Options) -> np.ndarray:
    """Labels (N, K) float32 of a column whose cells have one digit for each of the K classes."""
    rows: dict[str, list[float]] = {}
    for cell in count(cells):
        digits = cell.zfill(classes)
        is_valid = digits.isascii() and digits.isdecimal() and len(digits) == classes
        values = [_value(digit, options) for digit in digits] if is_valid else [_INVALID] * classes
        rows[cell] = values if cell else [_value("", options)] * classes
    return np.array([rows[cell] for cell in cells], dtype=np.float32).reshape(len(cells), classes)


def _value(cell: str, options: Options) -> float:
    if not cell:
        return 0.0 if options.blank == "negative" else np.nan
    if cell in options.words:
        return {"present": 1.0, "absent": 0.0, "unknown": np.nan}[options.words[cell]]
    try:
        value = float(cell)
    except ValueError:
        return _INVALID
    if value == options.uncertain_value:
        return {"ignore": np.nan, "zeros": 0.0, "ones": 1.0, "lsr_ones": _SOFT}[options.uncertain]
    if options.present_from is not None and math.isfinite(value):
        return 1.0 if value >= options.present_from else 0.0 if value <= options.absent_to else np.nan
    return value if 0 <= value <= 1 else _INVALID


def resolve(table: Table, index: int, columns: Sequence[str], labels: np.ndarray, image: str, options: Options) -> None:
    """Draws the soft labels of a row, in place. Raises DataError if a cell is not a label."""
    for k in np.flatnonzero(labels > 1):
        if labels[k] == _INVALID:
            number = "a number in [0, 1]" if options.present_from is None else "a grade"
            expected = ", ".join([number, *map(repr, options.words), f"{options.uncertain_value:g} or an empty cell"])
            found = f"{columns[k]} is {table.cells[columns[k]][index]!r}"
            raise DataError(table.where(index), found, expected, "fix the row")
        labels[k] = _soft(image, columns[k])


def _soft(image: str, column: str) -> float:
    digest = hashlib.sha256(f"{image}|{column}".encode()).digest()
    return SOFT_LOW + (SOFT_HIGH - SOFT_LOW) * int.from_bytes(digest[:8], "big") / 2**64
