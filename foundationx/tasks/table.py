"""Rows of a table of predictions that were made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundationx.core.errors import DataError


@dataclass(frozen=True, slots=True)
class TableRow:
    """What a table says of one class in one image.

    Attributes:
        where: File and line, for messages.
        class_index: Index of the class.
        cells: Texts by column.
        folder: Folder of the table.
    """

    where: str
    class_index: int
    cells: Mapping[str, str]
    folder: Path

    def number(self, column: str, least: float = -math.inf, greatest: float = math.inf) -> float:
        """The number of a column. Raises DataError: there is none, or it is out of range or not finite."""
        text = self.cells.get(column, "")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= greatest):
            bounds = f" from {least:g} to {greatest:g}" if math.isfinite(least) else ""
            fix = "scale scores to [0, 1]" if bounds else "correct the table"
            raise DataError(self.where, f"{column} is {text!r}", f"a number{bounds}", fix)
        return value

    def file(self, column: str) -> Path | None:
        """The file of a column, relative to the table's folder; None if the cell is empty."""
        text = self.cells.get(column, "").strip()
        return self.folder / text if text else None
