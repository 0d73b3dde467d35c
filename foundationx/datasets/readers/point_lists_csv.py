"""CSV with many points in one cell: all landmarks of an image (CheXmask), or one traced line per row (RANZCR CLiP)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from foundationx.core.errors import CardError, DataError, nearest
from foundationx.core.geometry.lines import evenly_spaced
from foundationx.core.geometry.point_groups import group_of
from foundationx.datasets.readers._geometry import numbers
from foundationx.datasets.readers._object_names import OtherNames
from foundationx.datasets.readers._points import ImagePoints, PointOptions
from foundationx.datasets.readers._quality import QualityOptions, is_good_enough
from foundationx.datasets.readers._source import Source
from foundationx.datasets.readers._tables import Row, group_by_image

PROVIDES = frozenset({"keypoints"})

MOST_POINTS = 100_000
"""Points of a cell."""

_INNER, _SEPARATOR = re.compile(r"\[([^\[\]]*)\]"), re.compile(r"[\s,]+")


class Options(PointOptions, OtherNames, QualityOptions):
    """Columns, and which points a cell holds."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    points_column: str = Field(
        description="column of the points: [[x, y], ...], with commas or spaces, or x and y in turn",
        examples=["points"],
    )
    class_column: str | None = Field(
        None, description="column that names the class with points that a row is of; null: a row holds all of `groups`"
    )
    groups: tuple[str, ...] = Field(
        (), description="published names of the classes whose points a cell holds, in its order: each has as many as "
        "the card gives it", examples=[["Right Lung", "Left Lung"]],
    )  # fmt: skip
    resample: bool = Field(
        False,
        description="a cell is a line of any number of points: those of the class lie on it at equal distances, the "
        "first and last on its ends",
    )
    start: Literal["listed", "top"] = Field(
        "listed", description="end of a line at which its points begin: as listed, or the upper one"
    )
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class without a row in a listed image"
    )

    @model_validator(mode="after")
    def _one_way_to_name_points(self) -> Options:
        if (self.class_column is None) == (not self.groups):
            raise ValueError("exactly one of class_column and groups must be given")
        if self.resample and self.class_column is None:
            raise ValueError("resample needs class_column: a row then is one line")
        return self


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row, with its points.

    Raises:
        CardError: A class of the options has no points in the card.
        DataError: An unknown class, a cell that holds no points or another number of them, a point outside, or two
            lines of one class in an image, unless ``repeated`` allows them.
    """
    members = _members(source, options)
    named = [options.image_column, options.points_column, *options.size_columns, *options.spacing_columns]
    named += [column for column in (options.class_column, options.quality_column) if column is not None]
    for name, rows in group_by_image(source.table(named), options.image_column):
        with source.guard(rows[0].where, name):
            kept = [row for row in rows if is_good_enough(row, options)]
            if kept:
                _add(source, options, name, kept, members)


def _members(source: Source, options: Options) -> dict[str, list[int]]:
    """Indices of the points of each class by its published names. Raises CardError."""
    members: dict[str, list[int]] = {}
    for index, published in enumerate(source.published):
        for name in published:
            members.setdefault(group_of(name) or name, []).append(index)
    where = f"{source.card.file}: tasks.{source.task.value}.options.groups"
    for name in options.groups:
        if name not in members:
            raise CardError(where, f"{name!r} is no class with points", nearest(name, members), "correct the card")
    return members


def _add(
    source: Source, options: Options, name: str, rows: Sequence[Row], members: Mapping[str, Sequence[int]]
) -> None:
    """Adds one image. Raises DataError."""
    first = rows[0]
    unnamed = 0.0 if options.absent == "negative" else math.nan
    points = ImagePoints(source, options, first.cells, first.where, unnamed)
    for row in rows:
        if indices := _indices(source, options, row, members):
            found = _fitted(_points_of(row, options), len(indices), options, row.where)
            for index, point in zip(indices, found, strict=True):
                points.place(index, point.tolist(), row.where)
    points.add(name)


def _indices(source: Source, options: Options, row: Row, members: Mapping[str, Sequence[int]]) -> list[int]:
    """The points that a row gives places to; none if its class carries no information. Raises DataError."""
    if options.class_column is None:
        return [index for name in options.groups for index in members[name]]
    name = row.cells[options.class_column]
    if name in (*options.ignore, *options.other):
        source.strings.ignored[name] += 1
        return []
    if name not in members:
        expected = nearest(name, [*members, *options.ignore, *options.other])
        fix = f"correct the row, or write {name!r} in the card: under sources of a class, or in ignore of the options"
        raise DataError(row.where, f"{name!r} is not a class of {source.card.name}", expected, fix)
    return list(members[name])


def _points_of(row: Row, options: Options) -> np.ndarray:
    """The points (P, 2) of a cell. Raises DataError: it holds something else."""
    cell = row.cells[options.points_column].strip()
    expected = f"a list of up to {MOST_POINTS:,} points [[x, y], ...]"
    if _is_too_long(cell):
        raise DataError(row.where, f"found more: {cell[:60]!r} ...", expected, "fix the row")
    inner = _INNER.findall(cell) if cell.startswith("[[") else []
    values = [_SEPARATOR.split(part.strip()) for part in inner]
    if not inner:
        flat = _SEPARATOR.split(cell.removeprefix("[").removesuffix("]").strip())
        values = [flat[index : index + 2] for index in range(0, len(flat), 2)]
    if values == [[""]]:
        raise DataError(row.where, f"found {cell[:60]!r}", expected, "fix the row")
    return np.array([numbers(pair, 2, row.where) for pair in values])


def _is_too_long(cell: str) -> bool:
    """Whether a cell holds more points than any line: looked at before it is taken apart, which takes memory."""
    return cell.count("[") > MOST_POINTS + 1 or len(_SEPARATOR.findall(cell)) >= 2 * MOST_POINTS


def _fitted(points: np.ndarray, count: int, options: Options, where: str) -> np.ndarray:
    """The points (count, 2) that a row gives. Raises DataError: it has another number of them, or no line."""
    if not options.resample:
        if len(points) != count:
            found = f"has {len(points)} points"
            raise DataError(where, found, f"the {count} that the card names", "correct the row or the card")
        return points
    line = resampled(points, count)
    if line is None:
        raise DataError(where, "has less than two different points", "a line", "fix or remove the row")
    return line[::-1] if options.start == "top" and line[-1, 1] < line[0, 1] else line


def resampled(line: np.ndarray, count: int) -> np.ndarray | None:
    """Points (count, 2) at equal distances along a line (P, 2), its first and last among them; None for no length."""
    return evenly_spaced(line, count) if (line != line[0]).any() else None
