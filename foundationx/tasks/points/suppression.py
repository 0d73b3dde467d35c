"""Non-maximum suppression of all images at once, in operations that every device has."""

from __future__ import annotations

import torch
from torch import Tensor

from foundationx.tasks.detection.boxes import iou

EXPORTED_ROUNDS = 32
"""Rounds of an exported network, whose length cannot depend on what it sees; a few are enough for all but long chains
of boxes that each overlap the next."""


@torch.no_grad()
def kept(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Which boxes no better one suppresses, as greedy suppression keeps them.

    A box is kept if no kept one before it overlaps it. That is computed for all boxes at once from what was kept
    before, until nothing changes: in each round at least one more box of each image is settled for good, mostly all
    of them after a few.

    Args:
        boxes: (B, N, 4) x1 y1 x2 y2, best first.
        groups: (B, N) int64; boxes of different groups do not suppress each other.
        threshold: IoU above which the worse one goes.

    Returns:
        (B, N) bool.
    """
    overlaps = (iou(boxes[:, :, None], boxes[:, None]) > threshold) & (groups[:, :, None] == groups[:, None])
    beats = overlaps.triu(1)
    keep = torch.ones_like(groups, dtype=torch.bool)
    exports = torch.compiler.is_exporting()
    for _ in range(EXPORTED_ROUNDS if exports else boxes.shape[1]):
        again = ~(beats & keep[:, :, None]).any(dim=1)
        if not exports and torch.equal(again, keep):
            break
        keep = again
    return keep


@torch.no_grad()
def best_first(scores: Tensor, keep: Tensor, count: int) -> Tensor:
    """Index of the best entries that are kept, then of others in their order, so that every runtime agrees on them.

    Args:
        scores: (B, N).
        keep: (B, N) bool.
        count: Entries to give, S; at most N are.

    Returns:
        (B, S) int64.
    """
    behind = scores.amin(dim=1, keepdim=True) - 1 - torch.arange(scores.shape[1], device=scores.device)
    return torch.where(keep, scores, behind).topk(min(count, scores.shape[1]), dim=1).indices
