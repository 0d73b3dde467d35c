"""Features at points and of regions, for all images and levels of a batch at once (no compiled operator is needed)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from foundationx.tasks.points.pyramid import Pyramid

POOLED = 7
"""A region is pooled to so many cells a side."""

PER_CELL = 2
"""Samples a side of such a cell; their mean is its feature (RoIAlign)."""


def sample_points(pyramid: Pyramid, points: Tensor, levels: Tensor, *, as_released: bool = False) -> Tensor:
    """Bilinear features at points; beyond the border is what is at the border.

    The value of a cell stands at its centre. Gradients reach ``points`` as far as they lie inside.

    Args:
        pyramid: L levels of C channels.
        points: (B, R, P, 2) x and y as shares of the image.
        levels: (B, R) int64, the level of each region.
        as_released: The value of a cell stands at its upper left corner, and points left of or above the map
            extrapolate from its first two cells.

    Returns:
        (B, R, P, C) in single precision or better.
    """
    if len(pyramid.spatial_shapes) == 1 and not as_released:
        (level,) = pyramid.maps()
        found = F.grid_sample(_precise(level), 2 * points - 1, padding_mode="border", align_corners=False)
        return found.permute(0, 2, 3, 1)
    return _bags(pyramid, points[:, :, :, None], levels, as_released)


def pool_regions(pyramid: Pyramid, regions: Tensor, levels: Tensor) -> Tensor:
    """RoIAlign: the mean of samples in each of ``POOLED`` x ``POOLED`` cells of every region.

    Args:
        pyramid: L levels of C channels.
        regions: (B, R, 4) x1 y1 x2 y2 as shares of the image.
        levels: (B, R) int64, the level of each region.

    Returns:
        (B, R, POOLED * POOLED, C), cells row by row.
    """
    side = POOLED * PER_CELL
    shares = (torch.arange(side, device=regions.device, dtype=regions.dtype) + 0.5) / side
    grid = torch.stack(torch.meshgrid(shares, shares, indexing="xy"), dim=-1)  # rows, columns, (x, y)
    cells = grid.view(POOLED, PER_CELL, POOLED, PER_CELL, 2).transpose(1, 2).reshape(POOLED**2, PER_CELL**2, 2)
    least, most = regions[:, :, None, None, :2], regions[:, :, None, None, 2:]
    points = least + cells * (most - least)
    if len(pyramid.spatial_shapes) == 1:
        return sample_points(pyramid, points.flatten(2, 3), levels).unflatten(2, cells.shape[:2]).mean(dim=3)
    return _bags(pyramid, points, levels, as_released=False)


def _bags(pyramid: Pyramid, points: Tensor, levels: Tensor, as_released: bool) -> Tensor:
    """Means over bags of S points (B, R, M, S, 2) each: (B, R, M, C), in one weighted sum of tokens for all levels."""
    tokens = _precise(pyramid.memory)
    batch, count, channels = tokens.shape
    sizes = pyramid.sizes().to(points.dtype)
    cells = [rows * columns for rows, columns in pyramid.spatial_shapes]
    starts = torch.tensor([sum(cells[:level]) for level in range(len(cells))], device=tokens.device)
    own_size = sizes[levels][:, :, None, None]
    position = points * own_size - (0.0 if as_released else 0.5)
    last = own_size - 1
    position = torch.minimum(position, last) if as_released else torch.minimum(position.clamp(min=0), last)
    low = torch.minimum(position.detach().floor().clamp(min=0), (last - 1).clamp(min=0))
    high = torch.minimum(low + 1, last)
    share = position - low
    first = starts[levels] + torch.arange(batch, device=tokens.device)[:, None] * count
    columns = torch.stack([low[..., 0], high[..., 0], low[..., 0], high[..., 0]], dim=-1).long()
    rows = torch.stack([low[..., 1], low[..., 1], high[..., 1], high[..., 1]], dim=-1).long()
    width = own_size[..., :1].long()
    index = first[:, :, None, None, None] + rows * width + columns
    x = torch.stack([1 - share[..., 0], share[..., 0]] * 2, dim=-1)
    y = torch.stack([1 - share[..., 1]] * 2 + [share[..., 1]] * 2, dim=-1)
    weights = (x * y / points.shape[3]).to(tokens.dtype)
    bag = 4 * points.shape[3]
    found = F.embedding_bag(
        index.reshape(-1, bag),
        tokens.reshape(-1, channels),
        mode="sum",
        per_sample_weights=weights.reshape(-1, bag),
    )
    return found.view(*points.shape[:3], channels)


def _precise(values: Tensor) -> Tensor:
    """In single precision or better."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
