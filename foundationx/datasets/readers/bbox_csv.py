"""CSV with one row per box (BBox_List_2017, RSNA, NODE21, VinDr-CXR), and optionally rows for images without boxes.

All boxes of an image may be in one cell (SIIM-FISABIO-RSNA), as in the rows of Parquet and webdataset files.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from foundationx.core.errors import CardError, DataError
from foundationx.core.types import ReferenceSize
from foundationx.datasets.readers._agreement import Agreement, Objects, agreed_boxes, votes_needed
from foundationx.datasets.readers._geometry import box, no_outline, numbers
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source
from foundationx.datasets.readers._tables import Row, group_by_image

PROVIDES = frozenset({"labels", "boxes"})


class Options(OtherNames, SizedOptions):
    """Columns, format of the boxes, and the meaning of an image without a box of a class."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    class_column: str | None = Field(
        None,
        description="null: every box is of the card's only class; beside boxes_column, a list with a name per box, or "
        "one name for all",
    )
    box_columns: tuple[str, str, str, str] | None = Field(
        None,
        description="columns of the four numbers, in the order of box_layout; null: the boxes are in boxes_column",
        examples=[["x", "y", "width", "height"]],
    )
    boxes_column: str | None = Field(
        None,
        description="column with all boxes of an image in a list, each as four numbers or with the keys box_keys; an "
        "empty cell is an image without a box",
        examples=["boxes"],
    )
    box_keys: tuple[str, str, str, str] = Field(
        ("x", "y", "width", "height"), description="keys of the four numbers in boxes_column"
    )
    pixel_spacing: float | None = Field(
        None,
        gt=0,
        description="millimetres per pixel, if the sizes of the boxes (not their positions) are in millimetres",
        examples=[0.175],
    )
    box_layout: Literal["xywh", "xyxy", "cxcywh"] = Field(
        description="xywh: corner and size, xyxy: two corners, cxcywh: centre and size"
    )
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class without a box in a listed image"
    )
    empty_column: str | None = Field(None, description="column that marks rows without a box")
    empty_values: tuple[str, ...] = Field((), description="values of empty_column that mean that the row has no box")
    reader_column: str | None = Field(
        None, description="column of the readers' names; several readers may mark one object"
    )
    agreement: Agreement = Field("majority", description="how many readers make an object")
    agreement_iou: float = Field(
        0.5, gt=0, le=1, examples=[0.4], description="minimum IoU of two readers' boxes of one object"
    )

    @model_validator(mode="after")
    def _boxes_have_one_form(self) -> Options:
        if (self.box_columns is None) == (self.boxes_column is None):
            raise ValueError("exactly one of box_columns and boxes_column must be given")
        if self.pixel_spacing is not None and self.box_layout == "xyxy":
            raise ValueError("pixel_spacing needs a box_layout with sizes")
        return self

    @model_validator(mode="after")
    def _empty_column_has_values(self) -> Options:
        if (self.empty_column is None) != (not self.empty_values):
            raise ValueError("empty_column and empty_values must be given together")
        return self


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row, with all its boxes.

    A class with a box is present, and one on which the readers disagree is unknown; where they disagree on one of its
    boxes, it is unknown beside its other boxes, too. Any other class of a listed image
    is absent or unknown, depending on ``absent``. Images without any row are left out.

    Raises:
        CardError: There are several classes, but no class column.
        DataError: An unknown class, an invalid box, or an image for which one reader has both boxes and a row without
            a box.
    """
    if options.class_column is None and len(source.classes) != 1:
        where = f"{source.card.file}: tasks.{source.task.value}.options.class_column"
        raise CardError(where, f"is null for {len(source.classes)} classes", "a column", "set class_column")
    named = [options.image_column, options.class_column, *(options.box_columns or [options.boxes_column])]
    named += [options.empty_column, options.reader_column, *options.size_columns]
    table = source.table([column for column in named if column is not None])
    for name, rows in group_by_image(table, options.image_column):
        with source.guard(rows[0].where, name):
            _add(source, options, name, rows)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row]) -> None:
    size = options.reference(rows[0].cells, rows[0].where)
    boxes, classes, readers = [], [], []
    no_box: dict[str, str] = {}
    names = ObjectNames(source, options)
    for row in rows:
        reader = row.cells[options.reader_column] if options.reader_column else ""
        if options.empty_column is not None and row.cells[options.empty_column] in options.empty_values:
            no_box[reader] = row.where
            source.strings.absent[row.cells[options.empty_column]] += 1
            continue
        marked = _boxes(options, row, size)
        if not marked:
            no_box[reader] = row.where
            continue
        for some, published in _by_name(options, row, marked):
            for index in [0] if published is None else names.classes(published, row.where):
                boxes += some
                classes += [index] * len(some)
                readers += [reader] * len(some)
    for reader in no_box.keys() & set(readers):
        found = f"states that {name} has no box, but other rows have boxes of it"
        raise DataError(no_box[reader], found, "rows that agree", "remove one of the rows")
    agreed, disputed = Objects(boxes, classes), Objects()
    if options.reader_column is not None:
        votes = votes_needed(options.agreement, len({row.cells[options.reader_column] for row in rows}))
        agreed, disputed = agreed_boxes(boxes, classes, readers, votes, options.agreement_iou)
    labels = names.labels(np.nan if options.absent == "unknown" else 0.0, bool(no_box))
    labels[disputed.classes] = np.nan
    labels[agreed.classes] = 1.0
    first = rows[0]
    image = source.image(name, first.where, first.cells)
    parts = {"boxes": agreed.boxes, "box_classes": agreed.classes}
    parts |= {"ignored_boxes": disputed.boxes, "ignored_classes": disputed.classes}
    source.add(image, first.where, labels, first.cells, size, **parts)


def _boxes(options: Options, row: Row, size: ReferenceSize | None) -> list[list[float]]:
    """The boxes of a row as x1, y1, x2, y2 in pixels. Raises DataError."""
    if options.box_columns is not None:
        listed = [[row.cells[column] for column in options.box_columns]]
    else:
        listed = _listed_boxes(row.cells[str(options.boxes_column)], options.box_keys, row.where)
    if options.pixel_spacing is not None:
        listed = [[*numbers(one[:2], 2, row.where), *_in_pixels(one[2:], options, row)] for one in listed]
    return [box(values, options.box_layout, row.where, size) for values in listed]


def _in_pixels(sides: Sequence[object], options: Options, row: Row) -> list[float]:
    """Width and height in pixels, from millimetres. Raises DataError."""
    return [side / (options.pixel_spacing or 1) for side in numbers(sides, 2, row.where)]


def _listed_boxes(cell: str, keys: Sequence[str], where: str) -> list[list[Any]]:
    """The numbers of all boxes in a cell, which holds a list in the notation of JSON or Python. Raises DataError."""
    if no_outline(cell):
        return []
    try:
        content = _list_in(cell)
        return [[one[key] for key in keys] if isinstance(one, dict) else list(one) for one in content]
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError):
        expected = f"a list of boxes, each of four numbers or with {', '.join(keys)}"
        raise DataError(where, f"found {cell[:60]!r}", expected, "fix the row") from None


def _list_in(cell: str) -> Any:
    """A list in the notation of JSON or Python. Raises SyntaxError, ValueError, MemoryError or RecursionError."""
    try:
        return json.loads(cell)
    except ValueError:
        return ast.literal_eval(cell)


def _by_name(options: Options, row: Row, marked: list[list[float]]) -> Iterator[tuple[list[list[float]], str | None]]:
    """The boxes of a row with the published name of each; None: the card's only class. Raises DataError."""
    if options.class_column is None:
        yield marked, None
        return
    cell = row.cells[options.class_column]
    listed = _names_in(cell) if options.boxes_column is not None else [cell]
    if len(listed) == 1:
        yield marked, listed[0]
    elif len(listed) == len(marked):
        yield from (([one], name) for one, name in zip(marked, listed, strict=True))
    else:
        found = f"{options.class_column} has {len(listed)} names for {len(marked)} boxes"
        raise DataError(row.where, found, "a name per box, or one for all", "fix the row")


def _names_in(cell: str) -> list[str]:
    """The names in a cell: a list in the notation of JSON or Python, or text with ``|`` between them."""
    if cell.startswith("["):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            content = _list_in(cell)
            return [str(one) for one in content] if isinstance(content, list) else [cell]
    return [name.strip() for name in cell.split("|")]
