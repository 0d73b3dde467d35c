"""CSV with one row per box (BBox_List_2017, RSNA, NODE21, VinDr-CXR), and optionally rows for images without boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from foundationx.core.errors import CardError, DataError
from foundationx.datasets.readers._agreement import Agreement, Objects, agreed_boxes, votes_needed
from foundationx.datasets.readers._geometry import box
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source
from foundationx.datasets.readers._tables import Row, group_by_image

PROVIDES = frozenset({"labels", "boxes"})


class Options(OtherNames, SizedOptions):
    """Columns, format of the boxes, and the meaning of an image without a box of a class."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    class_column: str | None = Field(None, description="null: every box is of the card's only class")
    box_columns: tuple[str, str, str, str] = Field(
        description="columns of the four numbers, in the order of box_layout"
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
    named = [options.image_column, options.class_column, *options.box_columns]
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
        for index in _classes(options, names, row):
            values = [row.cells[column] for column in options.box_columns]
            boxes.append(box(values, options.box_layout, row.where, size))
            classes.append(index)
            readers.append(reader)
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


def _classes(options: Options, names: ObjectNames, row: Row) -> list[int]:
    """Indices of the row's classes, none if its name is not one."""
    return [0] if options.class_column is None else names.classes(row.cells[options.class_column], row.where)
