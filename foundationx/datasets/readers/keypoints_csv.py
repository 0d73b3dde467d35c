"""CSV with named points: one row per point, or one row per image with columns for each point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from foundationx.core.errors import CardError, DataError, nearest
from foundationx.datasets.cards.schema import check_names, template_fields
from foundationx.datasets.readers._geometry import no_outline
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._points import ImagePoints, PointOptions
from foundationx.datasets.readers._source import Source
from foundationx.datasets.readers._tables import Row, Table, group_by_image

PROVIDES = frozenset({"keypoints"})

State = Literal["visible", "absent", "unknown"]
LABELS: dict[State, float] = {"visible": 1.0, "absent": 0.0, "unknown": math.nan}


class Options(PointOptions, OtherNames):
    """Columns, and the meaning of a point that is not listed."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    point_column: str | None = Field(
        None, description="column that names the point of a row; null: the columns below have {point} in their names"
    )
    x_column: str = Field("x", description="column of x, or {point}_x for a column per point", examples=["{point}_x"])
    y_column: str = Field("y", description="column of y, or {point}_y for a column per point", examples=["{point}_y"])
    visible_column: str | None = Field(
        None, description="column that says whether the point is visible; null: one with a place is"
    )
    states: dict[str, State] = Field(
        {"1": "visible", "0": "absent", "": "unknown"}, description="meaning of the cells of visible_column"
    )
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a point without a row, or with empty cells, in a listed image"
    )

    @model_validator(mode="after")
    def _columns_name_points(self) -> Options:
        columns = [self.x_column, self.y_column, *([self.visible_column] if self.visible_column else [])]
        for column in columns:
            check_names(column, ("point",))
        named = [bool(template_fields(column)) for column in columns]
        if self.point_column is not None and any(named):
            raise ValueError("point_column and {point} in a column's name exclude each other")
        if any(named) and not all(named):
            raise ValueError("{point} stands in some of the columns' names; it belongs in all or in none")
        return self

    @property
    def is_wide(self) -> bool:
        """Whether each point has columns of its own."""
        return bool(template_fields(self.x_column))

    def columns(self, published: str = "") -> tuple[str, ...]:
        """Columns of x, y and, if there is one, visibility of a point."""
        given = (self.x_column, self.y_column, *([self.visible_column] if self.visible_column else []))
        return tuple(column.format(point=published) for column in given)


def read(source: Source, options: Options) -> None:
    """Adds every image that has a row, with its points.

    A point with a place is visible unless ``visible_column`` says otherwise; one that is said to be visible and has no
    place is visible somewhere. A point of which nothing is said is unknown or absent, as ``absent`` has it.

    Raises:
        CardError: There are several points, and nothing says which one a row is of.
        DataError: An unknown point, a place that is no two numbers or lies outside, or two rows for one point.
    """
    if options.point_column is None and not options.is_wide and len(source.classes) != 1:
        where = f"{source.card.file}: tasks.{source.task.value}.options.point_column"
        raise CardError(where, f"is null for {len(source.classes)} points", "a column", "set point_column")
    named = [options.image_column, *([options.point_column] if options.point_column else [])]
    named += [*options.size_columns, *options.spacing_columns]
    if options.is_wide:
        wide = [column for names in source.published for name in names for column in options.columns(name)]
        table = source.table(named, wide)
        columns = [_columns_of(names, table, options) for names in source.published]
    else:
        table, columns = source.table([*named, *options.columns()]), []
    for name, rows in group_by_image(table, options.image_column):
        with source.guard(rows[0].where, name):
            _add(source, options, name, rows, columns)


def _columns_of(published: Sequence[str], table: Table, options: Options) -> tuple[str, ...]:
    """The columns of a point by one of its published names. Raises DataError: there are none, or those of two."""
    found = [columns for columns in map(options.columns, published) if set(columns) <= set(table.columns)]
    if len(found) == 1:
        return found[0]
    wanted = " and ".join(map(repr, options.columns(published[0])))
    shown = f"there are no columns {wanted}" if not found else f"{found[0][0]} and {found[1][0]} are of one point"
    fix = "correct the card: names of points under `sources`, or x_column and y_column of the reader's options"
    raise DataError(f"{table.name} row 1", shown, nearest(options.columns(published[0])[0], table.columns), fix)


def _add(source: Source, options: Options, name: str, rows: Sequence[Row], columns: Sequence[tuple[str, ...]]) -> None:
    """Adds one image. Raises DataError."""
    first, names = rows[0], ObjectNames(source, options)
    points = ImagePoints(source, options, first.cells, first.where, _unnamed(options))
    for row in rows:
        if columns:
            for index, own in enumerate(columns):
                _place(points, index, [row.cells[column] for column in own], row, options)
            continue
        cells = [row.cells[column] for column in options.columns()]
        indices = [0] if options.point_column is None else names.classes(row.cells[options.point_column], row.where)
        for index in indices:
            _place(points, index, cells, row, options)
    points.add(name)


def _unnamed(options: Options) -> float:
    return 0.0 if options.absent == "negative" else math.nan


def _place(points: ImagePoints, index: int, cells: Sequence[str], row: Row, options: Options) -> None:
    """What a row says of one point: x, y and, if there is such a column, its visibility. Raises DataError."""
    has_place = not all(map(no_outline, cells[:2]))
    label = 1.0 if has_place else _unnamed(options)
    if len(cells) > 2:
        if cells[2] not in options.states:
            found, expected = f"{cells[2]!r} in the column of visibility", ", ".join(map(repr, options.states))
            raise DataError(row.where, found, expected, "fix the row, or name the cell under states in the card")
        label = LABELS[options.states[cells[2]]]
    if label == 1.0 and has_place:
        points.place(index, cells[:2], row.where)
    else:
        points.mark(index, label, row.where)
