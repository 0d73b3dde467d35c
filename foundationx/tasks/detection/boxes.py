"""Geometry of boxes and the losses on them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def to_corners(boxes: Tensor) -> Tensor:
    """Centre and size (..., 4) to x1 y1 x2 y2."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def to_centre_and_size(boxes: Tensor) -> Tensor:
    """x1 y1 x2 y2 (..., 4) to centre and size."""
    least, most = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(least + most) / 2, most - least], dim=-1)


def iou(first: Tensor, second: Tensor, eps: float = 1e-10) -> Tensor:
    """Intersection over union of x1 y1 x2 y2 boxes that broadcast against each other, in [0, 1]."""
    least = torch.maximum(first[..., :2], second[..., :2])
    most = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (most - least).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap).clamp(min=eps)


def generalised_iou(first: Tensor, second: Tensor, eps: float = 1e-10) -> Tensor:
    """GIoU of x1 y1 x2 y2 boxes that broadcast against each other, in (-1, 1] (Rezatofighi et al., 2019).

    To have all pairs of (..., Q, 4) and (..., T, 4), pass ``first[..., :, None, :]`` and ``second[..., None, :, :]``.
    Boxes are shares of the image: ``eps`` lies far below the area of one pixel of any radiograph (4000 pixels: 6e-8).
    """
    area_first = (first[..., 2:] - first[..., :2]).prod(-1)
    area_second = (second[..., 2:] - second[..., :2]).prod(-1)
    least = torch.maximum(first[..., :2], second[..., :2])
    most = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (most - least).clamp(min=0).prod(-1)
    union = (area_first + area_second - overlap).clamp(min=eps)
    hull_least = torch.minimum(first[..., :2], second[..., :2])
    hull_most = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (hull_most - hull_least).prod(-1).clamp(min=eps)
    return overlap / union - (hull - union) / hull


def covered_share(boxes: Tensor, regions: Tensor, eps: float = 1e-10) -> Tensor:
    """Share of the area of ``boxes`` that ``regions`` cover, x1 y1 x2 y2 each, which broadcast against each other."""
    least = torch.maximum(boxes[..., :2], regions[..., :2])
    most = torch.minimum(boxes[..., 2:], regions[..., 2:])
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1).clamp(min=eps)
    return (most - least).clamp(min=0).prod(-1) / area


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss of every entry (Lin et al., 2017); ``targets`` are 0 or 1 and of the logits' shape."""
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    miss = probability * (1 - targets) + (1 - probability) * targets
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return balance * miss.pow(gamma) * entropy
