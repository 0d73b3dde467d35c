"""CSV with run-length masks: one column a class, or one row an object (SIIM-ACR, CANDID-PTX, CheXmask)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart, Runs
from foundationx.datasets.readers._runs import bounds, runs_from_text
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Row, group_by_image

GIVES = frozenset({"labels", "boxes", "masks"})


class Options(ReaderOptions):
    """Columns, how the runs are written, and the size of the masks."""

    image_column: str
    runs_columns: dict[str, str] = Field(min_length=1, description="column of the runs by published class name")
    empty: tuple[str, ...] = Field(("-1",), description="cells that say: nothing of the class in this image")
    blank: Literal["unknown", "negative"] = Field("unknown", description="an empty cell")
    relative: bool = Field(description="a start counts from the end of the run before it")
    first: Literal[0, 1] = Field(description="number of the first pixel")
    order: Literal["rows", "columns"] = Field(description="pixels are numbered along rows or down the columns")
    height: int | str | None = Field(None, description="of the mask: pixels or a column; the image's where it is null")
    width: int | str | None = Field(None, description="of the mask: pixels or a column; the image's where it is null")
    scaled: bool = Field(False, description="a mask may have another size than its image")
    quality_column: str | None = Field(None, description="rows with less than quality_least in this column ...")
    quality_least: float = Field(0.0, description="... are left out: nothing is known of their image")


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row. Runs of one class in several rows are united; each row is one object.

    Raises:
        DataError: an unknown class, runs that are no runs or lie outside the mask, or an image that is said to be
            empty in one row and not in another.
    """
    for published in options.runs_columns:
        source.class_index(published, f"{source.card.file}: tasks.{source.task.value}.options.runs_columns")
    further = [value for value in (options.height, options.width, options.quality_column) if isinstance(value, str)]
    table = source.table([options.image_column, *options.runs_columns.values(), *further])
    for name, rows in group_by_image(table.rows, options.image_column).items():
        with source.guard(rows[0].where, name):
            rows = [row for row in rows if _good_enough(row, options)]
            if rows:
                _add(source, options, name, rows)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row]) -> None:
    labels = source.labels(np.nan)
    found: list[tuple[int, Runs]] = []
    for row in rows:
        for published, column in options.runs_columns.items():
            index, cell = source.class_index(published, row.where), row.cells[column]
            absent = cell in options.empty or (not cell and options.blank == "negative")
            if not absent and not cell:
                continue
            if labels[index] == (1.0 if absent else 0.0):
                text = f"{name} has {published} in one row and none in another"
                raise DataError(row.where, text, "one or the other", "remove one of the rows")
            labels[index] = 0.0 if absent else 1.0
            if not absent:
                found.append((index, _runs(row, cell, options)))
    boxes, masks = [], []
    if source.wants("boxes"):
        boxes = [_box(runs, rows[0].where) for _, runs in found]
    if source.wants("masks"):
        masks = [MaskPart(index, runs=runs, scaled=options.scaled) for index, runs in found]
    first = rows[0]
    image = source.image(name, first.where, first.cells)
    classes = [index for index, _ in found]
    source.add(image, first.where, labels, first.cells, boxes=boxes, box_classes=classes, masks=masks)


def _runs(row: Row, cell: str, options: Options) -> Runs:
    return runs_from_text(
        cell,
        row.where,
        relative=options.relative,
        first=options.first,
        order=options.order,
        height=_side(row, options.height),
        width=_side(row, options.width),
    )


def _side(row: Row, side: int | str | None) -> int | None:
    """Height or width of the mask in pixels. Raises DataError where the column holds no positive whole number."""
    if not isinstance(side, str):
        return side
    try:
        value = int(float(row.cells[side]))
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise DataError(row.where, f"{side} is {row.cells[side]!r}", "a size in pixels", "fix the row")
    return value


def _box(runs: Runs, where: str) -> list[float]:
    if runs.height is None or runs.width is None:
        raise DataError(where, "a box needs the mask's size", "height and width in the card's options", "add them")
    return bounds(runs)


def _good_enough(row: Row, options: Options) -> bool:
    if options.quality_column is None:
        return True
    try:
        return float(row.cells[options.quality_column]) >= options.quality_least
    except ValueError:
        shown = f"{options.quality_column} is {row.cells[options.quality_column]!r}"
        raise DataError(row.where, shown, "a number", "fix the row") from None
