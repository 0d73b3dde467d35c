"""Regions that may hold something: Faster R-CNN's proposals (Ren et al., 2015), with an output for each class.

mmdet's own ``RPNHead`` needs compiled operators of mmcv, which this project does without; anchors, coding of boxes and
matching follow it. It asks only whether a place holds anything; where a dataset does not annotate some class in an
image, no place is known to hold nothing. With one output a class the others can still be learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.tasks.points.assignment import Truth, assign, closest, judged, rows, sample
from foundationx.tasks.points.options import RegionOptions
from foundationx.tasks.points.pyramid import Pyramid
from foundationx.tasks.points.suppression import best_first, kept

ANCHOR_CELLS = 8
"""Side of a square anchor, in cells of its level."""

RATIOS = (0.5, 1.0, 2.0)
"""Heights of anchors divided by their widths."""

POSITIVE, NEGATIVE, LEAST = 0.7, 0.3, 0.3
"""IoU with a truth from which on an anchor is positive, and below which it is negative; that from which on the anchor
that is closest to a truth is positive all the same."""

SAMPLED, POSITIVE_SHARE = 256, 0.5
"""Anchors of an image that are trained, and the most of them that are positive."""

SUPPRESSION = 0.7
"""IoU above which the worse of two proposals of a level goes."""

LARGEST_STEP = math.log(1000 / 16)
"""Largest logarithm of the factor by which an anchor's side may change."""

PRIOR = 0.01
"""Probability of a class at the start."""


@dataclass(slots=True)
class Anchored:
    """The outputs at all anchors.

    Attributes:
        logits: (B, N, K), one per class; (B, N, 1) if classes are not told apart.
        steps: (B, N, 4), from anchors to boxes.
        anchors: (N, 4) x1 y1 x2 y2 as shares of the image.
        levels: (N,) int64.
    """

    logits: Tensor
    steps: Tensor
    anchors: Tensor
    levels: Tensor


@dataclass(slots=True)
class Regions:
    """Proposals (B, R, 4) x1 y1 x2 y2 as shares of the image, best first, and whether they count (B, R)."""

    boxes: Tensor
    is_valid: Tensor


class RegionProposals(nn.Module):
    """Scores anchors of every level and moves them.

    Args:
        channels: Width C of the pyramid.
        outputs: Classes K, or 1.
        options: Numbers of proposals.
    """

    def __init__(self, channels: int, outputs: int, options: RegionOptions):
        super().__init__()
        self.options = options
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.logits = nn.Linear(channels, len(RATIOS) * outputs)
        self.steps = nn.Linear(channels, len(RATIOS) * 4)
        for layer in (self.conv, self.logits, self.steps):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        if not options.as_released:
            nn.init.constant_(self.logits.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, pyramid: Pyramid) -> Anchored:
        """Outputs at all anchors of all levels."""
        tokens = [self.conv(level).relu().flatten(2).transpose(1, 2) for level in pyramid.maps()]  # (B, h * w, C)
        logits, steps = (
            torch.cat([layer(level).unflatten(2, (len(RATIOS), -1)).flatten(1, 2).float() for level in tokens], dim=1)
            for layer in (self.logits, self.steps)
        )
        anchors, levels = anchors_of(pyramid)
        return Anchored(logits, steps, anchors, levels)

    @torch.no_grad()
    def select(self, outputs: Anchored) -> Regions:
        """The best proposals, without those that a better one of their level suppresses."""
        score = outputs.logits.amax(dim=2)
        count = min(self.options.candidates, score.shape[1])
        best, index = score.topk(count, dim=1)
        boxes = moved(outputs.anchors[index], rows(outputs.steps, index)).clamp(0, 1)
        keep = kept(boxes, outputs.levels[index], SUPPRESSION) & ((boxes[..., 2:] - boxes[..., :2]) > 0).all(dim=2)
        chosen = best_first(best, keep, self.options.proposals)
        return Regions(rows(boxes, chosen), keep.gather(1, chosen))

    def losses(self, outputs: Anchored, truth: Truth) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of the class and box losses of the sampled anchors, and their number."""
        anchors = outputs.anchors[None].expand(len(outputs.logits), -1, -1)
        assigned = assign(anchors, truth)
        positive = (assigned.by_class >= POSITIVE) | closest(anchors, truth, LEAST)
        may_be_empty = judged(anchors, truth) & (assigned.by_class < NEGATIVE)
        if outputs.logits.shape[2] == 1:  # classes are not told apart: a place is empty if no class can be there
            positive, may_be_empty = positive.any(2, keepdim=True), may_be_empty.all(2, keepdim=True)
        is_positive, is_negative = positive.any(dim=2), ~positive.any(dim=2) & may_be_empty.any(dim=2)
        index, counts = sample(is_positive, is_negative, SAMPLED, POSITIVE_SHARE)
        target = rows(positive.to(outputs.logits.dtype), index)
        entries = F.binary_cross_entropy_with_logits(rows(outputs.logits, index), target, reduction="none")
        entries = entries * ((target > 0) | rows(may_be_empty, index)) * counts[..., None]
        wanted = steps_between(rows(anchors, index), rows(assigned.of(truth.boxes), index))
        distance = (rows(outputs.steps, index) - wanted).abs().sum(dim=2)
        has_box = is_positive.gather(1, index) & counts
        return entries.sum(), torch.where(has_box, distance, 0.0).sum(), counts.sum()


def anchors_of(pyramid: Pyramid, ratios: Sequence[float] = RATIOS) -> tuple[Tensor, Tensor]:
    """Anchors (N, 4) x1 y1 x2 y2 as shares of the image, one of each ratio around every cell, and their levels."""
    boxes, levels = [], []
    device = pyramid.memory.device
    heights = torch.tensor(ratios, device=device).sqrt() * ANCHOR_CELLS
    half = torch.stack([ANCHOR_CELLS**2 / heights, heights], dim=1) / 2  # (A, 2) in cells
    for number, (rows_, columns) in enumerate(pyramid.spatial_shapes):
        x = torch.arange(columns, device=device) + 0.5
        y = torch.arange(rows_, device=device) + 0.5
        centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)
        cells = torch.tensor([columns, rows_] * 2, device=device)
        boxes.append((torch.cat([centre - half, centre + half], dim=2) / cells).flatten(0, 1))
        levels.append(torch.full((len(boxes[-1]),), number, device=device))
    return torch.cat(boxes), torch.cat(levels)


def moved(anchors: Tensor, steps: Tensor) -> Tensor:
    """Boxes (..., 4) of anchors (..., 4) after steps (..., 4): of the centre in sides, of the sides' logarithms."""
    size = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., :2] + anchors[..., 2:]) / 2 + steps[..., :2] * size
    half = size * steps[..., 2:].clamp(-LARGEST_STEP, LARGEST_STEP).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def steps_between(anchors: Tensor, boxes: Tensor) -> Tensor:
    """The steps (..., 4) that move anchors to boxes; sides of boxes below a millionth count as that (padding)."""
    size, other = anchors[..., 2:] - anchors[..., :2], (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-6)
    centre, target = (anchors[..., :2] + anchors[..., 2:]) / 2, (boxes[..., :2] + boxes[..., 2:]) / 2
    return torch.cat([(target - centre) / size, (other / size).log()], dim=-1)
