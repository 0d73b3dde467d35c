"""Rows that a table itself calls poor, which are passed over: their images are unknown."""

from __future__ import annotations

from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.datasets.readers._source import ReaderOptions
from foundationx.datasets.readers._tables import Row


class QualityOptions(ReaderOptions):
    """The column of the quality, and how much of it a row needs."""

    quality_column: str | None = Field(None, description="rows with less than quality_least in this column are skipped")
    quality_least: float = Field(0.0, description="minimum of quality_column; images below it are left out as unknown")


def is_good_enough(row: Row, options: QualityOptions) -> bool:
    """Whether a row has the quality that is asked for. Raises DataError: its cell is no number."""
    if options.quality_column is None:
        return True
    try:
        return float(row.cells[options.quality_column]) >= options.quality_least
    except ValueError:
        shown = f"{options.quality_column} is {row.cells[options.quality_column]!r}"
        raise DataError(row.where, shown, "a number", "fix the row") from None
