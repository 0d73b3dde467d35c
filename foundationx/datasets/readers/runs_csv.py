"""CSV with run-length masks: one column per class, or one row per object (SIIM-ACR, CANDID-PTX, CheXmask)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.core.runs import Runs, pack_cells
from foundationx.core.types import MaskPart, ReferenceSize
from foundationx.datasets.readers._quality import QualityOptions, is_good_enough
from foundationx.datasets.readers._runs import bounding_box, runs_from_text, text_of
from foundationx.datasets.readers._source import Source
from foundationx.datasets.readers._tables import Row, group_by_image

PROVIDES = frozenset({"labels", "boxes", "masks"})


class Options(QualityOptions):
    """Columns, format of the runs, and size of the masks."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    runs_columns: dict[str, str] = Field(min_length=1, description="column of the runs for each published class name")
    empty: tuple[str, ...] = Field(("-1",), description="cells that mean that the class is absent from the image")
    blank: Literal["unknown", "negative"] = Field("unknown", description="meaning of an empty cell")
    relative: bool = Field(description="whether starts count from the end of the previous run")
    first: Literal[0, 1] = Field(description="index of the first pixel")
    order: Literal["rows", "columns"] = Field(description="whether pixels are numbered along rows or down columns")
    height: int | str | None = Field(None, description="height of the mask: pixels or a column; null: the image's")
    width: int | str | None = Field(None, description="width of the mask: pixels or a column; null: the image's")
    scaled: bool = Field(
        False, description="whether masks and images may differ in aspect ratio, or in size if none is given"
    )


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row. Runs of one class in several rows form one mask; each row is one object.

    Raises:
        DataError: An unknown class, invalid runs, runs outside the mask, or a class of an image that is absent in one
            row and present in another.
    """
    where = f"{source.card.file}: tasks.{source.task.value}.options.runs_columns"
    classes = {published: source.class_indices(published, where) for published in options.runs_columns}
    named = [value for value in (options.height, options.width, options.quality_column) if isinstance(value, str)]
    convert = functools.partial(pack_cells, relative=options.relative, first=options.first)
    columns = list(options.runs_columns.values())
    table = source.table([options.image_column, *columns, *named], convert=dict.fromkeys(columns, convert))
    for name, rows in group_by_image(table, options.image_column):
        with source.guard(rows[0].where, name):
            rows = [row for row in rows if is_good_enough(row, options)]
            if rows:
                _add(source, options, name, rows, classes)


def _add(
    source: Source, options: Options, name: str, rows: Sequence[Row], classes: Mapping[str, Sequence[int]]
) -> None:
    labels = source.labels(np.nan)
    masks: list[tuple[int, Runs]] = []
    for row in rows:
        for published, column in options.runs_columns.items():
            indices, cell = classes[published], row.cells[column]
            absent = cell in options.empty or (not cell and options.blank == "negative")
            if not absent and not cell:
                source.strings.unknown[cell] += 1
                continue
            if absent:
                source.strings.absent[cell] += 1
            if (labels[indices] == (1.0 if absent else 0.0)).any():
                found = f"{name} has {published} in one row and none in another"
                raise DataError(row.where, found, "rows that agree", "remove one of the rows")
            labels[indices] = 0.0 if absent else 1.0
            if not absent:
                runs = _runs(row, cell, options)
                masks += [(index, runs) for index in indices]
    boxes, parts = [], []
    if source.needs("boxes"):
        boxes = [_box(runs, rows[0].where) for _, runs in masks]
    if source.needs("masks"):
        parts = [MaskPart(index, runs=runs, scaled=options.scaled) for index, runs in masks]
    first = rows[0]
    image = source.image(name, first.where, first.cells)
    box_classes = [index for index, _ in masks]
    size = _reference([runs for _, runs in masks], options)
    source.add(image, first.where, labels, first.cells, size, boxes=boxes, box_classes=box_classes, masks=parts)


def _reference(runs: Sequence[Runs], options: Options) -> ReferenceSize | None:
    """The common size of the masks of an image, so that copies of the image at another scale fit; None if unknown."""
    sizes = {(one.height, one.width) for one in runs}
    height, width = sizes.pop() if len(sizes) == 1 else (None, None)
    return None if height is None or width is None else _size_of(height, width, options.scaled)


@functools.lru_cache
def _size_of(height: int, width: int, scaled: bool) -> ReferenceSize:
    """One object for all masks of a size."""
    return ReferenceSize(height, width, scaled)


def _runs(row: Row, cell: str | bytes, options: Options) -> Runs:
    """The runs of a cell, which is packed already or unusual. Raises DataError."""
    height, width = _size(row, options.height), _size(row, options.width)
    if isinstance(cell, bytes):
        runs = Runs.of_packed(cell, options.order, height, width)
        if height is None or width is None or runs.end <= height * width:
            return runs
        cell = text_of(runs, options.relative, options.first)  # lies outside the mask
    kind: dict[str, Any] = {"relative": options.relative, "first": options.first, "order": options.order}
    return runs_from_text(cell, row.where, height=height, width=width, **kind)


def _size(row: Row, option: int | str | None) -> int | None:
    """Height or width of the mask in pixels, by number or column. Raises DataError if it is not positive."""
    if not isinstance(option, str):
        return option
    value = _pixels(row.cells[option])
    if value <= 0:
        raise DataError(row.where, f"{option} is {row.cells[option]!r}", "a size in pixels", "fix the row")
    return value


@functools.lru_cache
def _pixels(cell: str) -> int:
    """A cell as a whole number, 0 if it is none; one object for all equal cells."""
    try:
        return int(float(cell))
    except (ValueError, OverflowError):
        return 0


def _box(runs: Runs, where: str) -> list[float]:
    if runs.height is None or runs.width is None:
        found = "a box cannot be computed without the size of the mask"
        raise DataError(where, found, "height and width in the card's options", "add them to the options")
    return bounding_box(runs, runs.height, runs.width)
