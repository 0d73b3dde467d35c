"""CSV, one row a box (BBox_List_2017). What is not boxed is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.data.readers._files import Row
from foundationx.data.readers._geometry import box
from foundationx.data.readers._source import ReaderOptions, Source, group_by_image
from foundationx.types import Task

TASKS = frozenset({Task.CLASSIFICATION, Task.DETECTION})


class Options(ReaderOptions):
    """Columns by name, and what the four numbers are."""

    image_column: str
    class_column: str
    box_columns: tuple[str, str, str, str]
    box_layout: Literal["xywh", "xyxy"]
    ignore: tuple[str, ...] = Field((), description="classes of the file that the card leaves out")


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row, with all its boxes.

    A class is present where it has a box and unknown elsewhere, in images without any row as well (those are left out).

    Raises:
        DataError: an unknown class, or a box that is no four numbers or has no size.
    """
    columns = [options.image_column, options.class_column, *options.box_columns]
    groups = group_by_image(source.table(columns).rows, options.image_column)
    for name, rows in groups.items():
        with source.guard(rows[0].where, name):
            _add(source, options, name, rows)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row]) -> None:
    boxes, box_classes = [], []
    for row in rows:
        published = row.cells[options.class_column]
        if published in options.ignore:
            continue
        box_classes.append(source.class_index(published, row.where, options.ignore))
        boxes.append(box([row.cells[column] for column in options.box_columns], options.box_layout, row.where))
    labels = source.labels(np.nan)
    labels[box_classes] = 1.0
    where = rows[0].where
    source.add(source.image(name, where), where, labels, rows[0].cells, boxes, box_classes)
