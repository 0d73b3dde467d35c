"""CSV with a row per image: columns ``image`` and, for each class, ``NAME_x`` and ``NAME_y`` in pixels."""

from __future__ import annotations

from foundationx.datasets.readers._source import ReaderOptions, Source

PROVIDES = frozenset({"points"})


class Options(ReaderOptions):
    """None."""


def read(source: Source, options: Options) -> None:
    """Adds every image."""
    columns = [f"{name}_{axis}" for name in source.classes for axis in "xy"]
    for row in source.table(["image", *columns]).rows_of(["image", *columns, *source.row_columns]):
        with source.guard(row.where, row.cells["image"]):
            values = [float(row.cells[column]) for column in columns]
            points = list(zip(values[::2], values[1::2], strict=True))
            image = source.image(row.cells["image"], row.where, row.cells)
            source.add(image, row.where, source.labels(1.0), row.cells, points=points)
