"""Which regions around the cells of a pyramid belong to which truth: the rules of ATSS and of FCOS.

Both are computed for all images and truths at once. mmdet's own go image by image and hold a region to one truth; here
a region may belong to truths of several classes, whose boxes are one: that of the truth that mmdet would choose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foundationx.tasks.detection.boxes import iou
from foundationx.tasks.points.assignment import Truth
from foundationx.tasks.points.pyramid import Pyramid

CANDIDATES = 9
"""Regions of each level, the closest to a truth, that may belong to it (ATSS)."""

RADIUS = 1.5
"""Distance from a truth's centre, in cells, up to which regions may belong to it (FCOS)."""

NEAREST, FARTHEST = 4.0, 8.0
"""Distances from a region's centre to the farthest side of a truth, in cells, between which it belongs to the region's
level (FCOS); the finest level has no lower bound and the coarsest no upper one."""


@dataclass(slots=True)
class Placed:
    """Regions beside the truth.

    Attributes:
        positive: (B, R) bool, whether a region belongs to a truth.
        index: (B, R) int64, that truth.
        present: (B, R, K) bool, whether it belongs to one of each class.
    """

    positive: Tensor
    index: Tensor
    present: Tensor


@torch.no_grad()
def place(rule: str, pyramid: Pyramid, regions: Tensor, levels: Tensor, truth: Truth) -> Placed:
    """Assigns regions.

    Args:
        rule: ``atss`` or ``fcos``.
        pyramid: Its levels.
        regions: (R, 4) x1 y1 x2 y2 as shares of the image, one around each cell, row by row.
        levels: (R,) int64.
        truth: Boxes of B images.
    """
    if rule == "atss":
        belongs = _atss(pyramid, regions, truth)
        merit = iou(regions[None, :, None], truth.boxes[:, None])
    else:
        belongs = _fcos(pyramid, regions, levels, truth)
        merit = -(truth.boxes[..., 2:] - truth.boxes[..., :2]).prod(-1)[:, None].expand(belongs.shape)
    belongs = belongs & (truth.classes >= 0)[:, None]
    index = merit.masked_fill(~belongs, -torch.inf).argmax(dim=2)
    present = torch.zeros(*index.shape, truth.known.shape[1], device=index.device)
    kinds = truth.classes.clamp(min=0)[:, None].expand_as(belongs)
    present.scatter_reduce_(2, kinds, belongs.to(present.dtype), "amax")
    return Placed(belongs.any(dim=2), index, present > 0)


def _atss(pyramid: Pyramid, regions: Tensor, truth: Truth) -> Tensor:
    """(B, R, T): of the closest regions of each level, those whose IoU is at least the mean of all these plus their
    standard deviation, with the centre in the truth (Zhang et al., CVPR 2020)."""
    overlaps = iou(regions[None, :, None], truth.boxes[:, None])
    centres = ((regions[:, :2] + regions[:, 2:]) / 2)[None, :, None]
    boxes = truth.boxes[:, None]
    away = (centres - (boxes[..., :2] + boxes[..., 2:]) / 2) * pyramid.sizes()[0]
    cells = [rows * columns for rows, columns in pyramid.spatial_shapes]
    starts = [sum(cells[:level]) for level in range(len(cells))]
    parts = away.norm(dim=3).split(cells, dim=1)
    chosen = torch.cat(
        [
            part.topk(min(CANDIDATES, count), dim=1, largest=False).indices + start
            for part, count, start in zip(parts, cells, starts, strict=True)
        ],
        dim=1,
    )  # (B, candidates, T)
    of_chosen = overlaps.gather(1, chosen)
    least = of_chosen.mean(dim=1, keepdim=True) + of_chosen.std(dim=1, keepdim=True)
    is_inside = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=3).amin(dim=3) > 0
    return torch.zeros_like(is_inside).scatter(1, chosen, of_chosen >= least) & is_inside


def _fcos(pyramid: Pyramid, regions: Tensor, levels: Tensor, truth: Truth) -> Tensor:
    """(B, R, T): regions whose centre lies in the truth and near its middle, and whose level is that of its size (Tian
    et al., ICCV 2019)."""
    cells = pyramid.sizes()[levels]  # (R, 2)
    centres = ((regions[:, :2] + regions[:, 2:]) / 2 * cells)[None, :, None]
    boxes = truth.boxes[:, None] * cells.repeat(1, 2)[None, :, None]  # (B, R, T, 4)
    to_sides = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=3)
    from_middle = (centres - (boxes[..., :2] + boxes[..., 2:]) / 2).abs().amax(dim=3)
    farthest = to_sides.amax(dim=3)
    last = len(pyramid.spatial_shapes) - 1
    is_own_size = ((farthest >= NEAREST) | (levels == 0)[:, None]) & (
        (farthest <= FARTHEST) | (levels == last)[:, None]
    )
    return (to_sides.amin(dim=3) > 0) & (from_middle < RADIUS) & is_own_size
