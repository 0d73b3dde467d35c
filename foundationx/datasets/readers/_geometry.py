"""Boxes and polygons as published, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import ReferenceSize

BOX_TOLERANCE = 1.0
"""Pixels by which a published box may extend beyond its image (rounding); more is an error."""

NO_OUTLINE = frozenset({"", "none", "null", "nan", "na", "n/a", "[]", "{}", "-1"})
"""Texts in lower case that publishers write for an object that is not there."""

LARGEST = 1e6
"""Maximum coordinate in pixels; no radiograph is larger, and larger numbers indicate damage or would overflow."""


def numbers(values: object, count: int, where: str) -> list[float]:
    """``count`` finite coordinates in pixels, from numbers or from text. Raises DataError."""
    if not isinstance(values, Sequence) or len(values) != count:
        raise DataError(where, f"found {values!r}", f"{count} numbers", "fix the row")
    try:
        result = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        raise DataError(where, f"found {values!r}", f"{count} numbers", "fix the row") from None
    if not all(abs(value) <= LARGEST for value in result):  # false for NaN, too
        raise DataError(where, f"found {values!r}", f"{count} finite numbers up to {LARGEST:g}", "fix the row")
    return result


def box(values: object, layout: str, where: str, size: ReferenceSize | None = None) -> list[float]:
    """A published box as x1, y1, x2, y2 in pixels.

    Args:
        values: Four numbers.
        layout: ``xywh`` (corner and size), ``xyxy`` (two corners) or ``cxcywh`` (centre and size).
        where: Location of the box, for messages.
        size: Size in which the coordinates are given; None if unknown.

    Raises:
        DataError: Not four finite numbers, no positive size, or more than the tolerance outside the image.
    """
    given = numbers(values, 4, where)
    x1, y1, x2, y2 = given
    if layout == "xywh":
        x2, y2 = x1 + x2, y1 + y2
    elif layout == "cxcywh":
        x1, y1, x2, y2 = x1 - x2 / 2, y1 - y2 / 2, x1 + x2 / 2, y1 + y2 / 2
    shown = f"box [{', '.join(f'{value:g}' for value in given)}] ({layout})"
    if x2 <= x1 or y2 <= y1:
        raise DataError(where, f"{shown} has no positive size", "x2 > x1 and y2 > y1", "fix or remove the box")
    height, width, more = (math.inf, math.inf, BOX_TOLERANCE) if size is None else (*size[:2], size.tolerance)
    if x1 < -more or y1 < -more or x2 > width + more or y2 > height + more:
        shown += " extends beyond its image" + ("" if size is None else f" of {width:g} x {height:g} pixels")
        fix = "fix the box, or name the size of its coordinates with reference_size in the reader's options"
        raise DataError(where, shown, "a box inside the image", fix)
    return [x1, y1, x2, y2]


def no_outline(points: object) -> bool:
    """Whether a published outline states that there is none.

    Nothing at all, no points, no number, or the text ``None``, ``null``, ``nan`` or ``[]`` (VinDr-RibCXR writes the
    first for an absent rib).
    """
    if isinstance(points, str):
        return points.strip().lower() in NO_OUTLINE
    if isinstance(points, list | tuple | dict):
        return all(isinstance(inner, list | tuple | dict) and not inner for inner in points)
    return points is None or (isinstance(points, float) and math.isnan(points))


def polygon(points: object, where: str) -> np.ndarray:
    """A polygon (P, 2) float64 of x and y in pixels, from P pairs or from 2 P numbers in a row.

    Raises:
        DataError: Fewer than three points, or a coordinate that is not a finite number.
    """
    pairs = points if isinstance(points, list) else []
    if pairs and not isinstance(pairs[0], list):
        pairs = [pairs[index : index + 2] for index in range(0, len(pairs), 2)]
    if len(pairs) < 3:
        raise DataError(where, "a polygon has fewer than three points", "at least three points", "fix the polygon")
    return np.array([numbers(pair, 2, where) for pair in pairs])
