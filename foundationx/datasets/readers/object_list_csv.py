"""CSV with one row per image and all its objects in one cell (Object-CXR): ``kind x y x y ...;kind x y ...``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from foundationx.core.errors import CardError, DataError
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._geometry import no_outline, numbers, polygon
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes", "masks"})

RECTANGLE, ELLIPSE, POLYGON = "0", "1", "2"
"""Kinds of outlines; rectangle and ellipse are given by two opposite corners of their box."""


class Options(SizedOptions):
    """Columns. All objects belong to the card's only class."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    objects_column: str = Field(description="column with all objects of the image")


def read(source: Source, options: Options) -> None:
    """Adds every row; an empty cell is a known negative.

    Raises:
        CardError: The card has more than one class.
        DataError: An object of unknown kind, or with the wrong number of coordinates.
    """
    if len(source.classes) != 1:
        where = f"{source.card.file}: tasks.{source.task.value}.classes"
        raise CardError(where, f"has {len(source.classes)} classes", "one class", "remove the others")
    for row in source.table([options.image_column, options.objects_column, *options.size_columns]).rows:
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            cell = row.cells[options.objects_column]
            outlines = [] if no_outline(cell) else [_outline(text, row.where) for text in cell.split(";")]
            labels = source.labels(1.0 if outlines else 0.0)
            boxes = [[*outline.min(axis=0), *outline.max(axis=0)] for outline in outlines]
            masks = [MaskPart(0, polygon=outline) for outline in outlines]
            image = source.image(name, row.where, row.cells)
            size, classes = options.reference(row.cells, row.where), [0] * len(boxes)
            source.add(image, row.where, labels, row.cells, size, boxes=boxes, box_classes=classes, masks=masks)


def _outline(text: str, where: str) -> np.ndarray:
    """Outline (P, 2) float64 of one object, x and y in pixels. Raises DataError."""
    kind, *values = text.split() or [""]
    if kind == POLYGON:
        if len(values) % 2:
            raise DataError(where, f"a polygon has {len(values)} coordinates", "pairs of x and y", "fix the row")
        return polygon([values[index : index + 2] for index in range(0, len(values), 2)], where)
    if kind not in (RECTANGLE, ELLIPSE):
        raise DataError(
            where, f"the object {text[:40]!r} is of an unknown kind", "0, 1 or 2 as first value", "fix the row"
        )
    return _corners(values, kind, where)


def _corners(values: Sequence[str], kind: str, where: str) -> np.ndarray:
    x1, y1, x2, y2 = numbers(values, 4, where)
    if x2 <= x1 or y2 <= y1:
        raise DataError(
            where, f"an object extends from {x1:g}, {y1:g} to {x2:g}, {y2:g}", "a positive size", "fix the row"
        )
    if kind == RECTANGLE:
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    centre, axes = ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) / 2, (y2 - y1) / 2)
    angles = np.linspace(0, 2 * np.pi, 73)[:-1]
    return np.stack([centre[0] + axes[0] * np.cos(angles), centre[1] + axes[1] * np.sin(angles)], 1)
