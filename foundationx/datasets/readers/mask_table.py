"""CSV with one row per mask file: image, class and mask; masks of one image may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import CardError
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Row, group_by_image

PROVIDES = frozenset({"masks"})


class Options(ReaderOptions):
    """Columns, the meaning of mask pixels, and the meaning of a missing row."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    mask_column: str = Field(
        description="column with the path of the mask, relative to the dataset's folder", examples=["mask"]
    )
    class_column: str | None = Field(
        None, examples=["class"], description="null: every mask is of the card's only class"
    )
    positive: int | None = Field(
        None, ge=0, le=255, examples=[255], description="pixel value of the class; null: any but 0"
    )
    ignore: int | None = Field(None, ge=0, le=255, examples=[128], description="pixel value of unknown pixels")
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class without a row for an image"
    )
    leave_out: tuple[str, ...] = Field(
        (),
        examples=[["Artefact"]],
        description="classes of the file that are not in the card: alone, they leave every class unknown",
    )


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row. A label is 1 if a mask is named, even if all its pixels are 0.

    Raises:
        CardError: There are several classes, but no class column.
        DataError: An unknown class, or a mask that does not exist.
    """
    if options.class_column is None and len(source.classes) != 1:
        where = f"{source.card.file}: tasks.segmentation.options.class_column"
        raise CardError(where, f"is null for {len(source.classes)} classes", "a column", "set class_column")
    named = [options.image_column, options.mask_column, options.class_column]
    table = source.table([column for column in named if column is not None])
    for name, rows in group_by_image(table, options.image_column):
        with source.guard(rows[0].where, name):
            _add(source, options, name, rows)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row]) -> None:
    labels = source.labels(np.nan if options.absent == "unknown" else 0.0)
    masks = []
    for row in rows:
        indices = [0]
        if options.class_column is not None:
            published = row.cells[options.class_column]
            if published in options.leave_out:
                source.strings.ignored[published] += 1
                continue
            indices = source.class_indices(published, row.where, options.leave_out)
        path = source.path(row.cells[options.mask_column], row.where)
        source.images.require(path, row.where)
        masks += [MaskPart(index, path, options.positive, options.ignore) for index in indices]
        labels[indices] = 1.0
    if not masks:
        labels[:] = np.nan
    where = rows[0].where
    source.add(source.image(name, where, rows[0].cells), where, labels, rows[0].cells, masks=masks)
