"""Which truth a region is compared with, which classes it is judged by, and which regions are trained.

Everything has a fixed shape and stays on the device: what does not count is masked, so that a batch without a box, or
a region without a truth, keeps all parameters in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from foundationx.tasks.detection.boxes import covered_share, iou
from foundationx.tasks.detection.matching import IGNORED_SHARE


@dataclass(slots=True)
class Truth:
    """What is known of the boxes of a batch.

    Attributes:
        boxes: (B, T, 4) x1 y1 x2 y2 as shares of the image, padded; T is at least 1.
        classes: (B, T) int64, -1 in the padding.
        known: (B, K) bool, the classes that were annotated in each image.
        ignored_boxes: (B, M, 4), regions in which a class is unknown; None if no image has one.
        ignored_classes: (B, M) int64, class of each region, -1 in the padding.
        outlines: (B, T, P, 2), outlines of the boxes; None if only boxes are known.
    """

    boxes: Tensor
    classes: Tensor
    known: Tensor
    ignored_boxes: Tensor | None = None
    ignored_classes: Tensor | None = None
    outlines: Tensor | None = None

    def __post_init__(self) -> None:
        if self.boxes.shape[1] == 0:
            self.boxes, self.classes = F.pad(self.boxes, (0, 0, 0, 1)), F.pad(self.classes, (0, 1), value=-1)


@dataclass(slots=True)
class Assigned:
    """Regions beside the truth.

    Attributes:
        best: (B, R), IoU with the truth that a region overlaps most; 0 without one.
        index: (B, R) int64, that truth.
        by_class: (B, R, K), IoU with the truth of each class that it overlaps most.
    """

    best: Tensor
    index: Tensor
    by_class: Tensor

    def of(self, values: Tensor) -> Tensor:
        """The rows of ``values`` (B, T, ...) that belong to each region, (B, R, ...)."""
        index = self.index.reshape(*self.index.shape, *(1 for _ in values.shape[2:]))
        return values.gather(1, index.expand(*self.index.shape, *values.shape[2:]))


@torch.no_grad()
def assign(regions: Tensor, truth: Truth) -> Assigned:
    """Lays regions (B, R, 4) beside the truth."""
    overlaps = iou(regions[:, :, None], truth.boxes[:, None]) * (truth.classes >= 0)[:, None]  # (B, R, T)
    best, index = overlaps.max(dim=2)
    by_class = overlaps.new_zeros(*regions.shape[:2], truth.known.shape[1])
    by_class.scatter_reduce_(2, truth.classes.clamp(min=0)[:, None].expand_as(overlaps), overlaps, "amax")
    return Assigned(best, index, by_class)


@torch.no_grad()
def closest(regions: Tensor, truth: Truth, least: float) -> Tensor:
    """Whether a region is the one (or as good) that overlaps some truth most, by ``least`` or more: (B, R, K) bool."""
    overlaps = iou(regions[:, :, None], truth.boxes[:, None]) * (truth.classes >= 0)[:, None]
    is_best = (overlaps == overlaps.amax(dim=1, keepdim=True)) & (overlaps >= least)
    found = overlaps.new_zeros(*regions.shape[:2], truth.known.shape[1])
    index = truth.classes.clamp(min=0)[:, None].expand_as(overlaps)
    return found.scatter_reduce_(2, index, is_best.to(overlaps.dtype), "amax") > 0


@torch.no_grad()
def judged(regions: Tensor, truth: Truth) -> Tensor:
    """By which classes regions may be called empty, (B, R, K) bool.

    Not by one that was not annotated in the image, nor by one that is unknown where the region lies (as COCO's crowds,
    from half of the region's area on).
    """
    classes = truth.known.shape[1]
    result = truth.known[:, None].expand(-1, regions.shape[1], -1)
    if truth.ignored_boxes is None or truth.ignored_classes is None or not truth.ignored_boxes.shape[1]:
        return result
    covered = covered_share(regions[:, :, None], truth.ignored_boxes[:, None]) >= IGNORED_SHARE  # (B, R, M)
    of_class = truth.ignored_classes[..., None] == torch.arange(classes, device=regions.device)
    return result & ~(covered[..., None] & of_class[:, None]).any(dim=2)


@torch.no_grad()
def sample(positive: Tensor, negative: Tensor, number: int, share: float) -> tuple[Tensor, Tensor]:
    """Draws regions at random: positive ones up to a share of the number, negative ones for the rest.

    Args:
        positive: (B, R) bool.
        negative: (B, R) bool; no region is both.
        number: Regions of an image.
        share: Most of them that are positive.

    Returns:
        Indices (B, S) and whether they count (B, S); there may be fewer regions than ``number``.
    """
    count = positive.shape[1]
    noise = torch.rand(positive.shape, device=positive.device)
    most = min(max(1, round(number * share)), count)
    drawn, chosen = torch.where(positive, noise, -1.0).topk(most, dim=1)
    is_chosen = torch.zeros_like(positive).scatter(1, chosen, drawn >= 0)
    rank, index = torch.where(is_chosen, 2.0, torch.where(negative, noise, -1.0)).topk(min(number, count), dim=1)
    return index, rank >= 0


def rows(values: Tensor, index: Tensor) -> Tensor:
    """The rows (B, S, D) of ``values`` (B, R, D) at ``index`` (B, S)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
