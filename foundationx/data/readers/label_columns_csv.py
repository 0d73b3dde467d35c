"""CSV, one row an image, one column a class: 1, 0, -1 (uncertain) or blank (CheXpert and its kin)."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.data.readers._files import Row
from foundationx.data.readers._source import ReaderOptions, Source
from foundationx.errors import DataError, nearest
from foundationx.types import Task

TASKS = frozenset({Task.CLASSIFICATION})

SOFT_LOW, SOFT_HIGH = 0.55, 0.85
"""Range of the soft labels of ``lsr_ones`` (``foundation_x.md`` section 4)."""


class Options(ReaderOptions):
    """The image's column, and what blank and uncertain cells mean. The classes' published names are the columns."""

    image_column: str
    blank: Literal["unknown", "negative"] = "unknown"
    uncertain: Literal["ignore", "zeros", "ones", "lsr_ones"] = Field(
        "ignore", description="unknown, absent, present, or a soft label drawn once for image and class"
    )
    uncertain_value: float = -1.0


def read(source: Source, options: Options) -> None:
    """Adds every row. Columns are found by name; further columns are passed over.

    Raises:
        DataError: the column of a class is missing (or two of its published names are columns), a cell is no number in
            [0, 1] and not the uncertain value, an image is in two rows.
    """
    table = source.table([options.image_column])
    columns = [_column(names, table.columns, f"{table.name} row 1") for names in source.published]
    for row in table.rows:
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            values = [_label(row, column, name, options) for column in columns]
            source.add(source.image(name, row.where), row.where, np.array(values, dtype=np.float32), row.cells)


def _column(names: tuple[str, ...], columns: tuple[str, ...], where: str) -> str:
    """The one column among the published names of a class."""
    found = [name for name in names if name in columns]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(where, f"{' and '.join(map(repr, found))} are one class", "one column a class", "mend the card")
    shown = f"there is no column {' or '.join(map(repr, names))}; found {', '.join(map(repr, columns))}"
    raise DataError(where, shown, nearest(names[0], columns), "correct the card or the file")


def _label(row: Row, column: str, image: str, options: Options) -> float:
    cell = row.cells[column]
    if not cell:
        return 0.0 if options.blank == "negative" else np.nan
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if value == options.uncertain_value:
        return _uncertain(options.uncertain, image, column)
    if not 0 <= value <= 1:
        expected = f"a number in [0, 1], {options.uncertain_value:g} or nothing"
        raise DataError(row.where, f"{column} is {cell!r}", expected, "mend the row")
    return value


def _uncertain(policy: str, image: str, column: str) -> float:
    if policy == "lsr_ones":
        digest = hashlib.sha256(f"{image}|{column}".encode()).digest()
        return SOFT_LOW + (SOFT_HIGH - SOFT_LOW) * int.from_bytes(digest[:8], "big") / 2**64
    return {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}[policy]
