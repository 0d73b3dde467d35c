"""CSV, one row a box (BBox_List_2017, RSNA, NODE21, VinDr-CXR), with or without rows that say: no box here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from foundationx.core.errors import CardError, DataError
from foundationx.datasets.readers._agreement import Agreement, agreed_boxes, votes_needed
from foundationx.datasets.readers._geometry import box
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Row, group_by_image

GIVES = frozenset({"labels", "boxes"})


class Options(ReaderOptions):
    """Columns by name, what the four numbers are, and what is said of an image without a box of a class."""

    image_column: str
    class_column: str | None = Field(None, description="null: every box is of the card's only class")
    box_columns: tuple[str, str, str, str]
    box_layout: Literal["xywh", "xyxy"]
    ignore: tuple[str, ...] = Field((), description="classes of the file that the card leaves out")
    absent: Literal["unknown", "negative"] = Field("unknown", description="a class without a box in a listed image")
    empty_column: str | None = Field(None, description="a row holds no box where this column ...")
    empty_values: tuple[str, ...] = Field((), description="... holds one of these")
    reader_column: str | None = Field(None, description="names who read the image; several readers may box one thing")
    agreement: Agreement = Field("majority", description="how many readers of an image make a box")
    agreement_iou: float = Field(0.5, gt=0, le=1, description="overlap from which two readers' boxes are one thing")

    @model_validator(mode="after")
    def _empty_is_whole(self) -> Options:
        if (self.empty_column is None) != (not self.empty_values):
            raise ValueError("empty_column and empty_values belong together")
        return self


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row, with all its boxes.

    A class is present where it has a box. Elsewhere in a listed image it is absent or unknown as ``absent`` says; where
    the readers of an image dispute it, it is unknown. Images without any row are left out.

    Raises:
        CardError: there is no class column, but more than one class.
        DataError: an unknown class, a box that is no four numbers or has no size, or an image with boxes and a row
            that says it has none (of one reader).
    """
    if options.class_column is None and len(source.classes) != 1:
        where = f"{source.card.file}: tasks.{source.task.value}.options.class_column"
        raise CardError(where, f"is null for {len(source.classes)} classes", "a column", "name the column")
    named = [options.image_column, options.class_column, *options.box_columns]
    named += [options.empty_column, options.reader_column]
    table = source.table([column for column in named if column is not None])
    for name, rows in group_by_image(table.rows, options.image_column).items():
        with source.guard(rows[0].where, name):
            _add(source, options, name, rows)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row]) -> None:
    boxes, classes, readers = [], [], []
    without: dict[str, str] = {}
    for row in rows:
        reader = row.cells[options.reader_column] if options.reader_column else ""
        if options.empty_column is not None and row.cells[options.empty_column] in options.empty_values:
            without[reader] = row.where
            continue
        index = _class(source, options, row)
        if index is not None:
            boxes.append(box([row.cells[column] for column in options.box_columns], options.box_layout, row.where))
            classes.append(index)
            readers.append(reader)
    for reader in without.keys() & set(readers):
        found = f"says that {name} has no box, but other rows give it one"
        raise DataError(without[reader], found, "one or the other", "remove one of the rows")
    disputed: set[int] = set()
    if options.reader_column is not None:
        votes = votes_needed(options.agreement, len({row.cells[options.reader_column] for row in rows}))
        boxes, classes, disputed = agreed_boxes(boxes, classes, readers, votes, options.agreement_iou)
    labels = source.labels(np.nan if options.absent == "unknown" else 0.0)
    labels[sorted(disputed)] = np.nan
    labels[classes] = 1.0
    first = rows[0]
    source.add(
        source.image(name, first.where, first.cells), first.where, labels, first.cells, boxes=boxes, box_classes=classes
    )


def _class(source: Source, options: Options, row: Row) -> int | None:
    """Index of the row's class, None where the card leaves it out."""
    if options.class_column is None:
        return 0
    published = row.cells[options.class_column]
    if published in options.ignore:
        return None
    return source.class_index(published, row.where, options.ignore)
