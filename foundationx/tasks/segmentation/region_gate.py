"""Region-guided segmentation of Foundation X+: predicted boxes brighten the features inside and around them.

``docs/methods/foundation_x_plus.md``, "1.2 Region-guided segmentation". The released code turns boxes that are (centre,
size) already into (centre, size) once more, which loses three of four, walks over pixels in Python, and gates in
training only. Here boxes are right, all images and boxes are handled at once on the device, and training and test are
alike by default. Gradients flow through the features; boxes are constants, as published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foundationx.core.config.model import RegionGateConfig

SMALL_AREA, SMALL_SIDE = 10.0, 10.0
"""A box of less than this area, in pixels, gets sides of at least this length before it grows."""


def gate_features(
    features: Sequence[Tensor], boxes: Tensor, scores: Tensor, size: tuple[int, int], config: RegionGateConfig
) -> list[Tensor]:
    """Feature maps, each mixed with itself times the mask of the predicted regions.

    Args:
        features: maps (B, C, h, w) of the backbone's stages.
        boxes: (B, Q, 4) x1 y1 x2 y2 as shares of the image, best first.
        scores: (B, Q) in [0, 1].
        size: height and width of the input image in pixels.
        config: of the gate.

    Returns:
        ``(1 - w) * f + w * f * mask`` for each map, with ``w = config.weight``.
    """
    boxes, scores = boxes[:, : config.boxes].detach(), scores[:, : config.boxes].detach()
    selected = scores > config.score
    grown = grow(boxes, size, config.grow)
    mixed = []
    for feature in features:
        height, width = feature.shape[-2:]
        mask = region_mask(grown, selected, (height, width), config.spread, config.corners).to(feature.dtype)
        mixed.append(feature * (1 - config.weight) + feature * mask * config.weight)
    return mixed


def grow(boxes: Tensor, size: tuple[int, int], factor: float) -> Tensor:
    """Boxes whose area is ``factor`` times as large about the same centre, cut at the image's rim.

    Args:
        boxes: (B, Q, 4) x1 y1 x2 y2 as shares of the image.
        size: height and width of the image in pixels; tiny boxes are first widened in pixels.
        factor: of the area.

    Returns:
        (B, Q, 4) shares.
    """
    scale = boxes.new_tensor([size[1], size[0]])
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 * scale
    extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0) * scale
    tiny = extent.prod(dim=-1, keepdim=True) < SMALL_AREA
    extent = torch.where(tiny, extent.clamp(min=SMALL_SIDE), extent) * factor**0.5
    return (torch.cat([centre - extent / 2, centre + extent / 2], dim=-1) / scale.repeat(2)).clamp(0, 1)


def region_mask(boxes: Tensor, selected: Tensor, grid: tuple[int, int], spread: float, corners: bool = False) -> Tensor:
    """How near each cell of a feature map is to a region: 1 inside a box, a Gaussian of the distance outside.

    The Gaussian's width is ``spread`` times the box's longer side, at most the map's; the nearest region counts, and
    each image's mask is scaled to a greatest value of 1.

    Args:
        boxes: (B, Q, 4) x1 y1 x2 y2 as shares of the image.
        selected: (B, Q) bool, the boxes that count.
        grid: height and width of the feature map.
        spread: width of the Gaussian by the box's longer side.
        corners: whether a cell stands for its upper left corner, not its centre, and each region's mask is scaled to a
            greatest value of 1, as released.

    Returns:
        (B, 1, h, w) in (0, 1]; 1 everywhere for an image without region.
    """
    height, width = grid
    edges = boxes * boxes.new_tensor([width, height, width, height])
    inside = 0.0 if corners else 0.5
    rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype) + inside
    columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype) + inside
    x1, y1, x2, y2 = edges.unbind(-1)
    across = torch.maximum(x1[..., None] - columns, columns - x2[..., None]).clamp(min=0)  # (B, Q, w)
    down = torch.maximum(y1[..., None] - rows, rows - y2[..., None]).clamp(min=0)  # (B, Q, h)
    longer = torch.maximum(x2 - x1, y2 - y1)
    sigma = (spread * longer).clamp(max=float(min(height, width)), min=1e-6)
    # exp(-(dx^2 + dy^2) / 2 s^2) is a product of one factor a column and one a row
    factor_x = torch.exp(-0.5 * (across / sigma[..., None]) ** 2)
    factor_y = torch.exp(-0.5 * (down / sigma[..., None]) ** 2)
    if corners:  # the greatest value of a product of factors is that of the greatest ones
        factor_x, factor_y = (f / f.amax(-1, keepdim=True).clamp(min=1e-12) for f in (factor_x, factor_y))
    factor_y = factor_y * selected[..., None]
    mask = (factor_y[..., :, None] * factor_x[..., None, :]).amax(dim=1, keepdim=True)
    peak = mask.amax(dim=(-2, -1), keepdim=True)
    any_region = selected.any(dim=1)[:, None, None, None] & (peak > 0)
    return torch.where(any_region, mask / peak.clamp(min=1e-12), torch.ones_like(mask))
