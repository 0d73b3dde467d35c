"""Non-maximum suppression of all images at once, in operations that every device has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foundationx.tasks.detection.boxes import iou
from foundationx.tasks.points.assignment import rows

EXPORTED_ROUNDS = 32
"""Rounds of an exported network, whose length cannot depend on what it sees; a few are enough for all but long chains
of boxes that each overlap the next."""

SUPPRESSION = 0.5
"""IoU above which the worse of two boxes of a class goes."""

SUPPRESSED_FROM = 1000
"""Best boxes of an image that take part in the suppression."""


@dataclass(slots=True)
class Found:
    """The best boxes of every image, best first; what was suppressed follows with a score of 0.

    Attributes:
        boxes: (B, Q, 4) x1 y1 x2 y2 as shares of the image.
        scores: (B, Q): probability of the class times expected IoU.
        probabilities: (B, Q), probability of the class.
        classes: (B, Q) int64.
    """

    boxes: Tensor
    scores: Tensor
    probabilities: Tensor
    classes: Tensor


@torch.no_grad()
def best_boxes(
    boxes: Tensor, probabilities: Tensor, expected: Tensor, top: int, threshold: float = SUPPRESSION
) -> Found:
    """The ``top`` best boxes of every image after suppression within each class.

    Args:
        boxes: (B, R, 1, 4), or (B, R, K, 4) with a box for each class.
        probabilities: (B, R, K) of each class.
        expected: (B, R), what the probabilities are multiplied by; 0 for a region that does not count.
        top: Number of boxes Q.
        threshold: IoU above which the worse of two boxes of a class goes.
    """
    classes = probabilities.shape[2]
    scores = (probabilities * expected[..., None]).flatten(1)
    index = best_first(scores, scores > 0, SUPPRESSED_FROM)
    own = index if boxes.shape[2] == classes else index // classes
    best, kinds = rows(boxes.flatten(1, 2).clamp(0, 1), own), index % classes
    score = scores.gather(1, index) * kept(best, kinds, threshold)
    order = best_first(score, score > 0, top)
    probability = probabilities.flatten(1).gather(1, index.gather(1, order))
    return Found(rows(best, order), score.gather(1, order), probability, kinds.gather(1, order))


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
