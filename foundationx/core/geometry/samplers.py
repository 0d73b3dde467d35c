"""Draws boxes: tiles, scaled boxes, boxes on a lattice, children and an inner window.

See ``docs/methods/self_supervision.md``, "7.1 Boxes and views". Every sampler is a function of its arguments and a
generator. Boxes are (4,) float64 arrays y0 x0 y1 x1 in pixels of the source image and never leave the box that they are
drawn in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Band = tuple[float, float]
"""Least and greatest value."""


def whole(size: tuple[int, int]) -> np.ndarray:
    """The box of an image of ``size`` (height, width)."""
    return np.array([0, 0, *size], dtype=np.float64)


def middle_square(size: tuple[int, int]) -> np.ndarray:
    """The largest square in the middle of an image."""
    side = min(size)
    top, left = (size[0] - side) / 2, (size[1] - side) / 2
    return np.array([top, left, top + side, left + side], dtype=np.float64)


def children(box: np.ndarray, count: int) -> np.ndarray:
    """The box cut into ``count`` x ``count`` equal tiles, row by row: (count^2, 4)."""
    corners = np.linspace(box[:2], box[2:], count + 1)
    positions = [(row, column) for row in range(count) for column in range(count)]
    return np.array([[corners[r, 0], corners[c, 1], corners[r + 1, 0], corners[c + 1, 1]] for r, c in positions])


def tile(box: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """One of ``count`` x ``count`` equal tiles of a box; the box itself for 1."""
    return children(box, count)[random.integers(count * count)]


def scaled_box(
    box: np.ndarray, area: Band, ratio: Band, random: np.random.Generator, centred: bool = False
) -> np.ndarray:
    """A box inside another one.

    Args:
        box: Box to draw in.
        area: Share of its area; a box of this shape that would not fit is cut to fit.
        ratio: Width to height in source pixels, drawn evenly on a logarithmic scale.
        random: Random generator.
        centred: Keep the middle of ``box``; otherwise anywhere in it.
    """
    extent = box[2:] - box[:2]
    share = random.uniform(*area)
    shape = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
    target = math.sqrt(share * extent[0] * extent[1]) * np.array([1 / math.sqrt(shape), math.sqrt(shape)])
    own = np.minimum(target, extent)
    at = np.array([0.5, 0.5]) if centred else random.random(2)
    corner = box[:2] + at * (extent - own)
    return np.concatenate([corner, corner + own])


def square_box(box: np.ndarray, side: float, random: np.random.Generator) -> np.ndarray:
    """A square of ``side`` source pixels anywhere in a box that is large enough."""
    corner = box[:2] + random.random(2) * (box[2:] - box[:2] - side)
    return np.concatenate([corner, corner + side])


@dataclass(frozen=True)
class Lattice:
    """Cells laid over an image, so that tokens of different crops coincide or cover complete parts of each other.

    Attributes:
        origin: (2,) y and x of the first cell's corner.
        cell: (2,) height and width of a cell, in source pixels.
        field: Cells per side.
    """

    origin: np.ndarray
    cell: np.ndarray
    field: int

    def box(self, offset: np.ndarray, cells: int) -> np.ndarray:
        """The box of ``cells`` x ``cells`` cells at an offset (down, across) in cells."""
        corner = self.origin + np.asarray(offset) * self.cell
        return np.concatenate([corner, corner + cells * self.cell])

    def draw(self, cells: int, random: np.random.Generator, like: np.ndarray | None = None) -> np.ndarray:
        """An offset (2,) at which ``cells`` x ``cells`` cells fit; of the parity of ``like`` if that is given."""
        most = self.field - cells
        if like is None:
            return random.integers(0, most + 1, size=2)
        parity = np.asarray(like) % 2
        return parity + 2 * random.integers(0, (most - parity) // 2 + 1)


def lay_lattice(box: np.ndarray, field: int, random: np.random.Generator, spare: int = 1) -> Lattice:
    """A lattice of ``field`` cells per side in a box that holds ``field + spare``, at a random offset below ``spare``.

    The offset of a part of a cell keeps the lattice from always cutting the anatomy at the same positions.
    """
    cell = (box[2:] - box[:2]) / (field + spare)
    return Lattice(box[:2] + random.random(2) * spare * cell, cell, field)


def inner(box: np.ndarray, cells: int, window: int, random: np.random.Generator) -> np.ndarray:
    """A window of ``window`` x ``window`` cells inside a box of ``cells`` x ``cells``."""
    cell = (box[2:] - box[:2]) / cells
    return Lattice(box[:2], cell, cells).box(random.integers(0, cells - window + 1, size=2), window)
