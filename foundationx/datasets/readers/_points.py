"""Named points of one image as published, checked and collected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.core.types import ReferenceSize
from foundationx.datasets.readers._geometry import numbers
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source

Millimetres = Annotated[float, Field(gt=0, le=100)]


class PointOptions(SizedOptions):
    """Options of readers of points."""

    spacing: Millimetres | tuple[Millimetres, Millimetres] | tuple[str, str] | str | None = Field(
        None,
        examples=[0.175],
        description="millimetres per pixel of the coordinates, across and down: one number, two, or their columns; "
        "null: not known, and distances are not given in millimetres",
    )
    outside: Literal["error", "absent"] = Field(
        "error",
        description="a point beyond the image of a known reference_size; absent: it is not visible (a program that "
        "follows an outline over the rim writes such points)",
    )

    repeated: Literal["error", "unplaced"] = Field(
        "error",
        description="two rows or objects that place one point in one image; unplaced: it is visible, but nobody knows "
        "which of the places is meant",
    )

    @property
    def spacing_columns(self) -> tuple[str, ...]:
        """Columns with the millimetres per pixel."""
        given = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
        return tuple(value for value in given if isinstance(value, str))

    def spacing_of(self, cells: Mapping[str, object], where: str) -> tuple[float, float]:
        """Millimetres per pixel across and down; NaN if they are unknown: an empty cell. Raises DataError."""
        given = self.spacing if isinstance(self.spacing, tuple) else (self.spacing, self.spacing)
        across, down = (_millimetres(value, cells, where) for value in given)
        return across, down


def _millimetres(value: float | str | None, cells: Mapping[str, object], where: str) -> float:
    if not isinstance(value, str):
        return math.nan if value is None else value
    cell = str(cells.get(value, "")).strip()
    if not cell:
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not 0 < number <= 100:
        raise DataError(where, f"{value} is {cell!r}", "millimetres per pixel, up to 100", "fix the row")
    return number


class ImagePoints:
    """Collects the points of one image and what is known of the others.

    Args:
        source: Source that the image is added to.
        options: Options of the reader.
        cells: Row or record of the image.
        where: Location of its first annotation, for messages.
        unnamed: Label of a point of which nothing is said: 0 absent, NaN unknown.
        size: Size in which the coordinates are given; None: what the options say.
    """

    def __init__(
        self,
        source: Source,
        options: PointOptions,
        cells: Mapping[str, object],
        where: str,
        unnamed: float,
        size: ReferenceSize | None = None,
    ):
        self.source, self.options, self.cells, self.where = source, options, cells, where
        self.size = options.reference(cells, where) or size
        self.labels = source.labels(unnamed)
        self._points = np.full((len(self.labels), 2), np.nan)
        self._named = np.zeros(len(self.labels), dtype=bool)

    def place(self, index: int, values: object, where: str) -> None:
        """Puts a point at x and y. Raises DataError: no two numbers, outside the image, or the point is named twice."""
        point = numbers(values, 2, where)
        if self._is_outside(point):
            if self.options.outside == "error":
                raise self._outside(point, where)
            self.mark(index, 0.0, where)
            return
        is_first = not self._named[index]
        self.mark(index, 1.0, where)
        self._points[index] = point if is_first else math.nan

    def mark(self, index: int, label: float, where: str) -> None:
        """Says whether a point is visible: 1, 0 or NaN. Raises DataError: another row has said something else of it."""
        is_again = self.options.repeated == "unplaced" and self.labels[index] == label == 1
        if self._named[index] and not is_again:
            found = f"says of {self.source.classes[index]} what an earlier row has said"
            raise DataError(where, found, "one place for each point of an image", "remove one of the rows")
        self._named[index] = True
        self.labels[index] = label

    def add(self, name: str) -> None:
        """Adds the image of a published name to the source."""
        image = self.source.image(name, self.where, self.cells)
        self.add_image(image)

    def add_image(self, image: str) -> None:
        """Adds an image of the dataset to the source."""
        spacing = self.options.spacing_of(self.cells, self.where)
        parts = {"points": self._points, "spacing": spacing}
        self.source.add(image, self.where, self.labels, self.cells, self.size, **parts)

    def _is_outside(self, point: list[float]) -> bool:
        height, width, more = (math.inf, math.inf, 1.0) if self.size is None else (*self.size[:2], self.size.tolerance)
        x, y = point
        return not (-more <= x <= width + more and -more <= y <= height + more)

    def _outside(self, point: list[float], where: str) -> DataError:
        shown = f"the point [{point[0]:g}, {point[1]:g}] lies outside its image"
        shown += "" if self.size is None else f" of {self.size.width:g} x {self.size.height:g} pixels"
        fix = "fix the point, name the size of its coordinates with reference_size, or set outside: absent in the card"
        return DataError(where, shown, "a point inside the image", fix)
