"""CSV, one row a mask file: image, class and mask; masks of one image may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import CardError
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Row, group_by_image

GIVES = frozenset({"masks"})


class Options(ReaderOptions):
    """Columns, what mask pixels mean, and what a missing row means."""

    image_column: str
    mask_column: str
    class_column: str | None = Field(None, description="null: every mask is of the card's only class")
    positive: int | None = Field(None, ge=0, le=255, description="pixel of the class; any but 0 where it is null")
    ignore: int | None = Field(None, ge=0, le=255, description="pixel of which nothing is known")
    absent: Literal["unknown", "negative"] = Field("unknown", description="a class without a row in an image")
    leave_out: tuple[str, ...] = Field((), description="classes of the file that the card leaves out")


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row. Labels say 1 where a mask is named; whether it is empty only its pixels tell.

    Raises:
        CardError: there is no class column, but more than one class.
        DataError: an unknown class, or a mask that does not exist.
    """
    if options.class_column is None and len(source.classes) != 1:
        where = f"{source.card.file}: tasks.segmentation.options.class_column"
        raise CardError(where, f"is null for {len(source.classes)} classes", "a column", "name the column")
    named = [options.image_column, options.mask_column, options.class_column]
    table = source.table([column for column in named if column is not None])
    for name, rows in group_by_image(table.rows, options.image_column).items():
        with source.guard(rows[0].where, name):
            _add(source, options, name, rows)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row]) -> None:
    labels = source.labels(np.nan if options.absent == "unknown" else 0.0)
    masks = []
    for row in rows:
        index = 0
        if options.class_column is not None:
            published = row.cells[options.class_column]
            if published in options.leave_out:
                continue
            index = source.class_index(published, row.where, options.leave_out)
        path = source.path(row.cells[options.mask_column], row.where)
        source.images.require(path, row.where)
        masks.append(MaskPart(index, path, options.positive, options.ignore))
        labels[index] = 1.0
    where = rows[0].where
    source.add(source.image(name, where, rows[0].cells), where, labels, rows[0].cells, masks=masks)
