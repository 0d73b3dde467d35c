"""DINO's criterion for a whole batch at once: one copy to the host, all assignments solved, one copy back.

mmdet solves each image of each layer on its own, with copies and ``.item()`` calls for each: at batch 24 that is 168
assignments and some 31,000 dispatched operations (``docs/performance.md``). Here the number of operations and of
host syncs depends neither on the batch nor on the number of layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from foundationx.core import distributed
from foundationx.tasks.detection.boxes import covered_share, focal_loss, generalised_iou, to_corners

CLASS_COST, BOX_COST, GIOU_COST = 2.0, 5.0, 2.0
CLASS_WEIGHT, BOX_WEIGHT, GIOU_WEIGHT = 1.0, 5.0, 2.0
ALPHA, GAMMA = 0.25, 2.0

IGNORED_SHARE = 0.5
"""Share of a predicted box from which on it lies in a region where its class is unknown."""


@dataclass(slots=True)
class Targets:
    """What a batch's boxes should be.

    Attributes:
        boxes: (B, T, 4) centre and size as shares of the image, padded.
        classes: (B, T) int64, -1 in the padding.
        known: (B, K) bool, the classes that were annotated in each image.
        ignored_boxes: (B, M, 4), regions in which a class is unknown, centre and size; None if no image has one.
        ignored_classes: (B, M) int64, class of each region, -1 in the padding.
    """

    boxes: Tensor
    classes: Tensor
    known: Tensor
    ignored_boxes: Tensor | None = None
    ignored_classes: Tensor | None = None


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
    """The cheapest assignment of queries to targets in each layer and image (costs 2, 5, 2 of DETR).

    Args:
        logits: (L, B, Q, K).
        boxes: (L, B, Q, 4) centre and size.
        targets: T targets per image.

    Returns:
        (L, B, T) int64: the query of each target; -1 in the padding and if there are more targets than queries.
    """
    layers, batch = logits.shape[:2]
    count = targets.classes.shape[1]
    if count == 0:
        return torch.empty(layers, batch, 0, dtype=torch.int64, device=logits.device)
    cost = _costs(logits.float(), boxes.float(), targets)
    # Padding is marked in the same tensor, so that one copy brings all that the host needs.
    padding = (targets.classes < 0)[None, :, None, :]
    host = cost.masked_fill(padding, torch.inf).transpose(2, 3).cpu().numpy()
    return torch.from_numpy(_solve(host)).to(logits.device, non_blocking=True)


def _costs(logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
    """(L, B, Q, T); broadcast differences instead of ``cdist``, whose backward and small sizes are slow."""
    probability = logits.sigmoid()
    positive = -(probability + 1e-12).log() * ALPHA * (1 - probability).pow(GAMMA)
    negative = -(1 - probability + 1e-12).log() * (1 - ALPHA) * probability.pow(GAMMA)
    index = targets.classes.clamp(min=0)[None, :, None, :].expand(*logits.shape[:3], -1)
    class_cost = (positive - negative).gather(3, index)
    target_boxes = targets.boxes[None, :, None]
    box_cost = (boxes[:, :, :, None] - target_boxes).abs().sum(-1)
    giou_cost = -generalised_iou(to_corners(boxes)[:, :, :, None], to_corners(target_boxes))
    cost = CLASS_COST * class_cost + BOX_COST * box_cost + GIOU_COST * giou_cost
    return cost.nan_to_num(nan=1e4, posinf=1e4, neginf=-1e4)


def _solve(cost: np.ndarray) -> np.ndarray:
    """Solves (L, B, T, Q) costs one by one on the host; rows of the padding hold infinities."""
    matched = np.full(cost.shape[:3], -1, dtype=np.int64)
    real = np.isfinite(cost[0, :, :, 0])
    for layer in range(cost.shape[0]):
        for image in np.flatnonzero(real.any(axis=1)):
            rows = np.flatnonzero(real[image])
            chosen, queries = linear_sum_assignment(cost[layer, image, rows])
            matched[layer, image, rows[chosen]] = queries
    return matched


def set_losses(logits: Tensor, boxes: Tensor, targets: Targets, count: str | None = None) -> Tensor:
    """Class, box and GIoU losses of every layer, weighted 1, 5 and 2, after matching.

    Every layer is divided by its number of matched targets over all ranks (at least 1). A class that was not annotated
    in an image is no negative there: its logits are left out, and so are those of unmatched queries in regions in which
    the class is unknown.

    Args:
        logits: (L, B, Q, K).
        boxes: (L, B, Q, 4) centre and size.
        targets: of the batch.
        count: Name under which ``Head.counts`` has the number of matched targets of a layer.

    Returns:
        (L, 3): class, box and GIoU loss of each layer.
    """
    return matched_losses(logits, boxes, targets, match(logits, boxes, targets), count)


def matched_losses(
    logits: Tensor, boxes: Tensor, targets: Targets, matched: Tensor, count: str | None = None
) -> Tensor:
    """As ``set_losses``, for a given assignment (L, B, T) with -1 for none."""
    logits, boxes = logits.float(), boxes.float()
    is_matched = matched >= 0
    positives = distributed.mean_count(is_matched.sum((1, 2)), count).to(logits.dtype)
    target_classes = _class_targets(logits, targets.classes, matched)
    entries = focal_loss(logits, target_classes, ALPHA, GAMMA) * targets.known[None, :, None]
    if targets.ignored_boxes is not None:
        entries = entries * (_judged(boxes, targets, logits.shape[-1]) | (target_classes > 0))
    class_loss = entries.sum((1, 2, 3)) / positives
    index = matched.clamp(min=0)[..., None].expand(-1, -1, -1, 4)
    predicted, truth = boxes.gather(2, index), targets.boxes[None].to(boxes.dtype)
    distance = (predicted - truth).abs().sum(-1)
    box_loss = (distance * is_matched).sum((1, 2)) / positives
    giou = generalised_iou(to_corners(predicted), to_corners(truth))
    giou_loss = ((1 - giou) * is_matched).sum((1, 2)) / positives
    return torch.stack([CLASS_WEIGHT * class_loss, BOX_WEIGHT * box_loss, GIOU_WEIGHT * giou_loss], dim=1)


@torch.no_grad()
def _judged(boxes: Tensor, targets: Targets, num_classes: int) -> Tensor:
    """Entries (L, B, Q, K) that an unmatched query is judged by: not those of a class in a region where it is unknown.

    A query is in a region if that covers ``IGNORED_SHARE`` of its box, as boxes in COCO's crowd regions are.
    """
    assert targets.ignored_boxes is not None and targets.ignored_classes is not None
    covered = covered_share(to_corners(boxes)[:, :, :, None], to_corners(targets.ignored_boxes)[None, :, None])
    of_class = targets.ignored_classes[..., None] == torch.arange(num_classes, device=boxes.device)
    return ~((covered >= IGNORED_SHARE)[..., None] & of_class[None, :, None]).any(3)


def _class_targets(logits: Tensor, classes: Tensor, matched: Tensor) -> Tensor:
    """(L, B, Q, K) of 0 and 1. Unmatched targets are written to a spare row that is cut off: no host sync."""
    layers, batch, queries, kinds = logits.shape
    result = logits.new_zeros(layers, batch, queries + 1, kinds)
    rows = torch.where(matched >= 0, matched, queries)
    layer = torch.arange(layers, device=logits.device)[:, None, None]
    image = torch.arange(batch, device=logits.device)[None, :, None]
    result.index_put_((layer, image, rows, classes.clamp(min=0)[None]), result.new_ones(()))
    return result[:, :, :queries]
