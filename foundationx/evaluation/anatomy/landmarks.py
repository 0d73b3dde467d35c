"""Named landmarks from annotations of organs: extreme points and centres of masks and boxes.

A landmark is called ``STRUCTURE: POINT``. Left and right in a point are those of the image, also if the structure's
name has other ones. Coordinates are (y, x) in pixels, the middle of the first pixel at 0.5.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from foundationx.core.types import UNKNOWN_PIXEL

Points = dict[str, tuple[float, float]]
"""Landmarks of one image."""

DIRECTIONS = {
    "top": (-1, 0),
    "left": (0, -1),
    "right": (0, 1),
    "lower left": (1, -1),
    "lower right": (1, 1),
}
"""Directions (y, x) of a mask's extreme points. The lowest corners of lungs are their costophrenic angles."""

PAIR_SHARE = 1 / 3
"""Least area of a second piece that is a structure of its own (both lungs in one mask), as a share of the largest."""


def mask_landmarks(name: str, mask: np.ndarray) -> Points:
    """Extreme points and centre of a structure.

    Args:
        name: Name of the structure.
        mask: (H, W) uint8, 1 inside, 255 unknown; specks beside the largest piece do not count. If there are two large
            pieces, each has its landmarks, and the name says on which side of the image it lies.

    Returns:
        Landmarks by name; none if the mask is empty or anything in it is unknown.
    """
    if (mask == UNKNOWN_PIXEL).any() or not (mask == 1).any():
        return {}
    _, pieces, stats, centres = cv2.connectedComponentsWithStats((mask == 1).astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = 1 + np.argsort(-areas, kind="stable")[:2]
    if len(order) < 2 or areas[order[1] - 1] < PAIR_SHARE * areas[order[0] - 1]:
        return _points(name, pieces == order[0])
    left, right = sorted(order, key=lambda piece: centres[piece][0])
    return _points(f"{name} (image left)", pieces == left) | _points(f"{name} (image right)", pieces == right)


def _points(name: str, inside: np.ndarray) -> Points:
    pixels = np.argwhere(inside)
    extremes = {f"{name}: {point}": _farthest(pixels, np.array(way)) for point, way in DIRECTIONS.items()}
    return extremes | {f"{name}: centre": _tuple(pixels.mean(axis=0))}


def _farthest(pixels: np.ndarray, way: np.ndarray) -> tuple[float, float]:
    """The pixel of (n, 2) that lies farthest in a direction; of several the middle one."""
    reach = pixels @ way
    tied = pixels[reach == reach.max()]
    return _tuple(tied[len(tied) // 2])


def _tuple(pixel: np.ndarray) -> tuple[float, float]:
    return float(pixel[0]) + 0.5, float(pixel[1]) + 0.5


def box_landmarks(name: str, boxes: np.ndarray) -> Points:
    """Corners and centre of a structure's box (n, 4), x1 y1 x2 y2; none unless there is exactly one."""
    if len(boxes) != 1:
        return {}
    x1, y1, x2, y2 = map(float, boxes[0])
    positions = {
        "upper left corner": (y1, x1),
        "upper right corner": (y1, x2),
        "lower left corner": (y2, x1),
        "lower right corner": (y2, x2),
        "centre": ((y1 + y2) / 2, (x1 + x2) / 2),
    }
    return {f"{name}: {point}": position for point, position in positions.items()}


def common(radiographs: Sequence[Points]) -> list[str]:
    """Names that at least half of the radiographs and at least two have, in the order in which they occur."""
    counts = Counter(name for points in radiographs for name in points)
    return [name for name, count in counts.items() if count >= max(2, len(radiographs) / 2)]


def mirrored(name: str) -> str:
    """The landmark on the other side of the body: left and right exchanged in structure and point."""
    return re.sub(r"\b(left|right)\b", _other_side, name, flags=re.IGNORECASE)


def _other_side(match: re.Match[str]) -> str:
    other = "right" if match.group().lower() == "left" else "left"
    return other.capitalize() if match.group()[0].isupper() else other


def mirror_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Landmarks of structures that the body has on both sides: (right, left), if both are among ``names``."""
    return [
        (name, mirrored(name))
        for name in names
        if re.search(r"\bright\b", structure := name.partition(": ")[0], flags=re.IGNORECASE)
        and mirrored(structure) != structure
        and mirrored(name) in names
    ]


def as_array(points: Mapping[str, tuple[float, float]], names: Sequence[str]) -> np.ndarray:
    """(len(names), 2) y and x."""
    return np.array([points[name] for name in names], dtype=np.float64).reshape(-1, 2)
