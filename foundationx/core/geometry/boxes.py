"""Where tokens lie: pure functions of boxes and grids (``docs/methods/self_supervision.md``, "7.2 Token geometry").

A box is (y0, x0, y1, x1) in pixels of the source image, row before column everywhere. A view of it is cut into a grid
of ``(rows, columns)`` tokens, numbered row by row. Since a view keeps its box, tokens of any two views of one image
can be compared; nothing of it has to be computed while data is read.
"""

from __future__ import annotations

import torch
from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of tokens."""


def pitch(boxes: Tensor, grid: Grid) -> Tensor:
    """Source pixels from one token to the next: boxes (B, 4) to (B, 2), down and across."""
    return (boxes[:, 2:] - boxes[:, :2]) / boxes.new_tensor(grid)


def centres(boxes: Tensor, grid: Grid) -> Tensor:
    """Middles of the tokens, (B, 4) to (B, N, 2) as y and x in source pixels; N = rows * columns."""
    rows = torch.arange(grid[0], device=boxes.device, dtype=boxes.dtype) + 0.5
    columns = torch.arange(grid[1], device=boxes.device, dtype=boxes.dtype) + 0.5
    offsets = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(1, -1, 2)
    return boxes[:, None, :2] + offsets * pitch(boxes, grid)[:, None]


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points (B, N, 2) lie in the boxes (B, 4); (B, N) bool. The upper borders belong to the next box."""
    return ((points >= boxes[:, None, :2]) & (points < boxes[:, None, 2:])).all(dim=-1)


def nearest(boxes: Tensor, grid: Grid, others: Tensor, other_grid: Grid) -> tuple[Tensor, Tensor]:
    """The token of another view that shows what a token shows.

    Args:
        boxes: (B, 4), one view.
        grid: its tokens, N of them.
        others: (B, 4), another view of the same images.
        other_grid: its tokens, M of them.

    Returns:
        (B, N) indices in 0 ... M - 1 of the token whose middle is nearest, and (B, N) whether the token's middle lies
        in the other view at all. If it does not, the index is the nearest one at the border.
    """
    points = centres(boxes, grid)
    steps = (points - others[:, None, :2]) / pitch(others, other_grid)[:, None]
    cells = steps.floor().long().clamp(min=0)
    rows = cells[..., 0].clamp(max=other_grid[0] - 1)
    columns = cells[..., 1].clamp(max=other_grid[1] - 1)
    return rows * other_grid[1] + columns, inside(points, others)


def soft_target(boxes: Tensor, grid: Grid, others: Tensor, other_grid: Grid, sigma: float, reach: int) -> Tensor:
    """How much every token of another view shows what a token shows: a bell around the true position.

    See ``docs/methods/self_supervision.md``, "4.3 Losses".

    Args:
        boxes: (B, 4), the view whose N tokens are the rows.
        grid: its tokens.
        others: (B, 4), the view whose M tokens are the columns.
        other_grid: its tokens.
        sigma: width of the bell, in pitches of the columns' grid.
        reach: tokens farther than so many pitches down or across count nothing.

    Returns:
        (B, N, M) in [0, 1]; 1 if both show the same position. Rows whose middle lies outside the other view are 0.
    """
    points, columns = centres(boxes, grid), centres(others, other_grid)
    steps = (points[:, :, None] - columns[:, None]) / pitch(others, other_grid)[:, None, None]
    bell = torch.exp(-steps.square().sum(dim=-1) / (2 * sigma**2))
    near = steps.abs().amax(dim=-1) <= reach + 1e-3  # rounding must not cut off the outermost ring
    return bell * near * inside(points, others)[:, :, None]
