"""Regions and the points scattered over them (``docs/methods/unihead.md``, "1.1 Points" and "1.2 Initialisation").

Coordinates are shares of the image, x before y, in single precision or better, whatever autocast does. A region is
x1 y1 x2 y2.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCATTER = 0.1
"""A point lies at the region's centre plus this times its offset, in units of the region's sides."""

MOVE = 0.5
"""An output point lies at its point plus this times its shift, in units of the region's sides."""

SPREAD = 3.0
"""Offset of a point at the start; ``SCATTER * SPREAD`` of a region's side is 0.3."""


def side_directions(points: int) -> Tensor:
    """Start of the points of a box: a quarter each at the middle of the left, top, right and bottom side.

    Args:
        points: Number of points P, a multiple of 4.

    Returns:
        (P, 2), from the centre in units of half a side: (-1, 0), (0, -1), (1, 0) or (0, 1).
    """
    sides = torch.tensor([[-1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    return sides.repeat_interleave(points // 4, dim=0)


def rectangle_directions(points: int) -> Tensor:
    """Start of the points of an outline: around the rectangle at equal steps, clockwise from the middle of the left.

    Args:
        points: Number of points P, a multiple of 4.

    Returns:
        (P, 2), from the centre in units of half a side, each in [-1, 1].
    """
    way = torch.arange(points) * (8.0 / points)  # along the sides of a square of side 2, from (-1, 0) upwards
    x = (way - 2).clamp(-1, 1) - (way - 6).clamp(-1, 1) - 1
    y = (way - 4).clamp(-1, 1) + 1 - way.clamp(0, 1) - (way - 7).clamp(0, 1)
    return torch.stack([x, y], dim=1)


def start_biases(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Biases (P, 2) of offsets and shifts with which the output points begin at ``directions`` (P, 2).

    ``SCATTER * SPREAD + MOVE * (1 - 0.2 * SPREAD)`` is 0.5: half a side.
    """
    return SPREAD * directions, (0.5 - SCATTER * SPREAD) / MOVE * directions


def pose_biases(places: Tensor) -> tuple[Tensor, Tensor]:
    """Biases (P, 2) of offsets and shifts with which the output points begin at ``places`` (P, 2), shares of a region.

    Half of the way from the centre is an offset, half a shift.
    """
    way = places - 0.5
    return way / (2 * SCATTER), way / (2 * MOVE)


def centres_and_sizes(regions: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Centres and sizes (..., 2) of regions (..., 4); ``extra`` (2,) is added to sizes (released: one pixel)."""
    least, most = regions[..., :2], regions[..., 2:]
    size = most - least
    return (least + most) / 2, size if extra is None else size + extra


def scatter(centre: Tensor, size: Tensor, offsets: Tensor) -> Tensor:
    """Points (..., P, 2) of regions with centres and sizes (..., 2) by offsets (..., P, 2)."""
    return centre[..., None, :] + SCATTER * offsets.to(centre.dtype) * size[..., None, :]


def move(points: Tensor, size: Tensor, shifts: Tensor) -> Tensor:
    """Output points (..., P, 2): points by shifts (..., P, 2) of regions of ``size`` (..., 2)."""
    return points + MOVE * shifts.to(points.dtype) * size[..., None, :]


def bounds(points: Tensor) -> Tensor:
    """Bounding boxes (..., 4) of points (..., P, 2)."""
    return torch.cat([points.amin(dim=-2), points.amax(dim=-2)], dim=-1)
