"""JSON with columns: ``{images: {"0": path}, CLASS: {"0": polygon}}`` (VinDr-RibCXR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._geometry import no_outline, polygon
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"boxes", "masks"})


class Options(SizedOptions):
    """Column of the image names. The classes' published names are the other columns."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class without a polygon in an image"
    )
    strip_folders: bool = Field(False, description="whether to use only the last part of a published path")


def read(source: Source, options: Options) -> None:
    """Adds every image with one polygon per class, its points as ``{"x": , "y": }`` or as pairs.

    An empty polygon, null or the text ``None`` means that the image has no outline of that class.

    Raises:
        DataError: Not such a JSON, a class without column, or an invalid polygon.
    """
    file, content = source.file, source.json_of(dict, "an object of columns")
    columns = [
        options.image_column,
        *options.size_columns,
        *(name for published in source.published for name in published),
    ]
    for column in columns:
        if not isinstance(content.get(column), dict):
            raise DataError(file, f"there is no column {column!r}", nearest(column, content), "correct the card")
    for key, name in content[options.image_column].items():
        where = f"{file} image {key}"
        with source.guard(where, str(name)):
            _add(source, options, content, str(key), str(name))


def _add(source: Source, options: Options, content: Mapping[str, Any], key: str, name: str) -> None:
    where = f"{source.file} image {key}"
    labels = source.labels(np.nan if options.absent == "unknown" else 0.0)
    boxes, classes, masks = [], [], []
    for index, published in enumerate(source.published):
        for column in published:
            points = content[column].get(key)
            if no_outline(points):
                continue
            outline = polygon(_pairs(points), f"{where} {column}")
            labels[index] = 1.0
            boxes.append([*outline.min(axis=0), *outline.max(axis=0)])
            classes.append(index)
            masks.append(MaskPart(index, polygon=outline))
    path = source.image(name.rpartition("/")[2] if options.strip_folders else name, where)
    size = options.reference({column: content[column].get(key) for column in options.size_columns}, where)
    source.add(path, where, labels, {}, size, boxes=boxes, box_classes=classes, masks=masks)


def _pairs(points: Any) -> Any:
    """Points as pairs; anything else is returned as it is, and the check of polygons rejects it."""
    if isinstance(points, list) and all(isinstance(point, dict) for point in points):
        return [[point.get("x"), point.get("y")] for point in points]
    return points
