"""CSV with one column per class, and for every image a further table of its boxes or ellipses (REFLACX)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from foundationx.core.errors import DataError
from foundationx.datasets.cards.schema import template_fields
from foundationx.datasets.readers import label_columns_csv
from foundationx.datasets.readers._agreement import Objects
from foundationx.datasets.readers._geometry import box
from foundationx.datasets.readers._images import fill_template
from foundationx.datasets.readers._paths import checked_name
from foundationx.datasets.readers._source import Source
from foundationx.datasets.readers._tables import Row, Table

PROVIDES = frozenset({"labels", "boxes"})

MARKED, NOT_MARKED = frozenset({"true", "1", "1.0"}), frozenset({"false", "0", "0.0", ""})
"""Cells in lower case that say whether a box is of a class."""


class Options(label_columns_csv.Options):
    """The columns of labels, as of ``label_columns_csv``, and the tables of boxes with a column per class, too."""

    marks_file: str = Field(
        description="table of an image's boxes, with columns of the annotation file in braces",
        examples=["readings/{id}/boxes.csv"],
    )
    box_columns: tuple[str, str, str, str] = Field(
        description="columns of the four numbers, in the order of box_layout; an ellipse by its outermost points",
        examples=[["xmin", "ymin", "xmax", "ymax"]],
    )
    box_layout: Literal["xywh", "xyxy", "cxcywh"] = Field(
        description="xywh: corner and size, xyxy: two corners, cxcywh: centre and size"
    )
    certainty_column: str | None = Field(
        None, description="column with the certainty of a box; needs certain_from", examples=["certainty"]
    )
    certain_from: float = Field(
        1.0, description="certainty from which on a box counts; below it, its class is unknown there"
    )

    @field_validator("marks_file")
    @classmethod
    def _names_a_column(cls, template: str) -> str:
        if not template_fields(template):
            raise ValueError(f"{template!r} names no column")
        return template


def read(source: Source, options: Options) -> None:
    """Adds every image with its labels and the boxes of its table.

    A class with a box is present; one that only has uncertain boxes is unknown, and so is one that the labels name
    present, but that has no box. A table is read only if the labels say that there is something in the image, and by
    tasks with boxes.

    Raises:
        DataError: As of ``label_columns_csv``; or a table of boxes is missing, or has an invalid box.
    """
    fields = template_fields(options.marks_file)
    table, columns, labels = label_columns_csv.read_labels(source, options, fields)
    for index in range(len(table)):
        row = table.row(index, dict.fromkeys([options.image_column, *fields, *source.row_columns]))
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            label_columns_csv.resolve(table, index, columns, labels[index], name, options)
            _add(source, options, row, labels[index])


def _add(source: Source, options: Options, row: Row, labels: np.ndarray) -> None:
    certain, doubtful = Objects(), Objects()
    if source.needs("boxes") and (labels != 0).any():
        for mark in _marks(source, options, row).rows:
            corners = box([mark.cells[column] for column in options.box_columns], options.box_layout, mark.where)
            kind = certain if _is_certain(options, mark) else doubtful
            for index in _classes_of(source, mark):
                kind.boxes.append(corners)
                kind.classes.append(index)
        labels = np.where(labels == 0, labels, np.nan).astype(np.float32)
        labels[doubtful.classes] = np.nan
        labels[certain.classes] = 1.0
    image = source.image(row.cells[options.image_column], row.where, row.cells)
    parts: dict[str, Any] = {"boxes": certain.boxes, "box_classes": certain.classes}
    parts |= {"ignored_boxes": doubtful.boxes, "ignored_classes": doubtful.classes}
    source.add(image, row.where, labels, row.cells, **parts)


def _marks(source: Source, options: Options, row: Row) -> Table:
    """The boxes of an image. Raises DataError if their table is missing or has no column of a class."""
    cells = {column: checked_name(row.cells[column], row.where) for column in template_fields(options.marks_file)}
    file = fill_template(options.marks_file, cells, row.where)
    names = [name for published in source.published for name in published]
    certainty = [] if options.certainty_column is None else [options.certainty_column]
    table = source.table_of(file, [*options.box_columns, *certainty], names)
    if len(table) and not any(name in table.cells for name in names):
        found = f"has none of the columns {', '.join(map(repr, names))}"
        raise DataError(f"{file} row 1", found, "a column for a class", "correct the card or the file")
    return table


def _classes_of(source: Source, mark: Row) -> list[int]:
    """Indices of the classes that a box is of. Raises DataError if a cell says neither yes nor no."""
    found = []
    for index, published in enumerate(source.published):
        cells = {name: mark.cells[name].lower() for name in published if name in mark.cells}
        for name, cell in cells.items():
            if cell not in MARKED | NOT_MARKED:
                raise DataError(mark.where, f"{name} is {mark.cells[name]!r}", "True or False", "fix the row")
        if MARKED.intersection(cells.values()):
            found.append(index)
    return found


def _is_certain(options: Options, mark: Row) -> bool:
    """Whether a box counts. Raises DataError if its certainty is no number."""
    if options.certainty_column is None:
        return True
    cell = mark.cells[options.certainty_column]
    try:
        return float(cell) >= options.certain_from
    except ValueError:
        found = f"{options.certainty_column} is {cell!r}"
        raise DataError(mark.where, found, "a number", "fix the row") from None
