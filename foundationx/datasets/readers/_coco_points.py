"""Keypoints of COCO JSON: ``keypoints`` of a category names them, that of an annotation gives x, y and v in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from foundationx.core.errors import DataError
from foundationx.datasets.readers._points import ImagePoints
from foundationx.datasets.readers._source import Source

FLAGS = (0, 1, 2)
"""v: 0 nobody has marked the point, 1 it is marked although something hides it, 2 it is marked and seen."""


def point_names(categories: Mapping[Any, Mapping[str, Any]]) -> dict[Any, tuple[str, ...]]:
    """Published names of the points of each category: ``CATEGORY/POINT``."""
    return {
        number: tuple(f"{str(record.get('name')).strip()}/{point}" for point in _listed(record.get("keypoints")))
        for number, record in categories.items()
    }


def known_names(names: Mapping[Any, Sequence[str]]) -> set[str]:
    """All names that a card can give its points: with the category before it, or alone."""
    return {name for of_category in names.values() for name in of_category} | {
        name.rpartition("/")[2] for of_category in names.values() for name in of_category
    }


def add_keypoints(
    points: ImagePoints, names: Sequence[str], own: Sequence[int], annotation: Mapping[str, Any], where: str
) -> None:
    """Adds the points of one object.

    A point with v = 0, or any of a crowd or of an object without keypoints, is unknown.

    Args:
        points: Points of the image.
        names: Names of the category's points.
        own: Classes of the card that are among them (:func:`classes_of`).
        annotation: The annotation.
        where: Its location, for messages.

    Raises:
        DataError: Not three numbers for each point, another v than 0, 1 and 2, or a second object of one category.
    """
    values = _listed(annotation.get("keypoints"))
    if not values or annotation.get("iscrowd"):
        for index in own:
            points.mark(index, math.nan, where)
        return
    if len(values) != 3 * len(names):
        found = f"has {len(values)} numbers for {len(names)} keypoints"
        raise DataError(where, found, "x, y and v for each keypoint of its category", "fix the annotation")
    for number, name in enumerate(names):
        x, y, flag = values[3 * number : 3 * number + 3]
        if flag not in FLAGS:
            raise DataError(where, f"v of {name} is {flag!r}", "0, 1 or 2", "fix the annotation")
        for index in _indices(points.source, name):
            if flag == 0:
                points.mark(index, math.nan, where)
            else:
                points.place(index, [x, y], where)


def classes_of(source: Source, names: Sequence[str]) -> list[int]:
    """Classes of the card that a category's points are: found once, for a category may have many points."""
    return [index for name in names for index in _indices(source, name)]


def _indices(source: Source, name: str) -> tuple[int, ...]:
    """Classes of a point by its name with the category's, or by its own; none if the card does not name it."""
    own = name if name in source.names else name.rpartition("/")[2]
    return tuple(source.names.indices(own)) if own in source.names else ()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
