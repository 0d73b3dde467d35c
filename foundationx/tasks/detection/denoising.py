"""Contrastive denoising queries: noisy true boxes that the decoder learns to fix, or to reject (DINO, 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from foundationx.tasks.detection.boxes import to_centre_and_size, to_corners
from foundationx.tasks.detection.matching import Targets


@dataclass(slots=True)
class DenoisingQueries:
    """Queries in front of the matching ones.

    Attributes:
        content: (B, R, D); R = groups * 2 * T, in each group first the queries to fix, then those to reject.
        boxes: (B, R, 4) centre and size in (0, 1).
        mask: (R + Q, R + Q) bool, True where attention is forbidden.
        matched: (1, B, T * groups) query of each target, -1 in the padding; with ``repeated`` the truth.
        repeated: the targets, once for each group.
    """

    content: Tensor
    boxes: Tensor
    mask: Tensor
    matched: Tensor
    repeated: Targets


def denoising_groups(count: int, number: int) -> int:
    """Groups of denoising queries: none without targets.

    Args:
        count: Targets of the largest image.
        number: About how many targets all groups hold together for that image.
    """
    return max(1, number // count) if count and number else 0


def make_denoising(
    targets: Targets, label_embedding: nn.Embedding, number: int, label_noise: float, box_noise: float, num_queries: int
) -> DenoisingQueries | None:
    """Draws the denoising queries of a batch.

    Args:
        targets: the truth; images with fewer targets than the batch's largest count have padding.
        label_embedding: a content vector for each class.
        number: about how many targets all groups hold together for the largest image.
        label_noise: twice the share of labels that are redrawn.
        box_noise: how far corners move: positives up to half a side times this, negatives up to a full one.
        num_queries: Q matching queries that follow; they must not see the denoising ones.

    Returns:
        None if no image has a target.
    """
    batch, count = targets.classes.shape
    groups = denoising_groups(count, number)
    if groups == 0:
        return None
    boxes = _noisy_boxes(targets.boxes, groups, box_noise)
    content = label_embedding(_noisy_labels(targets.classes, groups, label_embedding.num_embeddings, label_noise))
    real = (targets.classes >= 0)[:, None, None].expand(-1, groups, 2, -1).reshape(batch, -1)
    content = content * real[..., None]
    boxes = boxes.masked_fill(~real[..., None], 0.5)
    positions = torch.arange(groups * 2 * count, device=boxes.device).view(groups, 2, count)[:, 0].reshape(1, 1, -1)
    repeated = replace(targets, boxes=targets.boxes.repeat(1, groups, 1), classes=targets.classes.repeat(1, groups))
    matched = torch.where(repeated.classes[None] >= 0, positions, -1)
    mask = _attention_mask(groups, 2 * count, num_queries, boxes.device)
    return DenoisingQueries(content, boxes, mask, matched, repeated)


def _noisy_labels(classes: Tensor, groups: int, num_classes: int, noise: float) -> Tensor:
    """(B, R) labels, a share ``noise / 2`` of them redrawn."""
    repeated = classes.clamp(min=0).repeat(1, 2 * groups)
    redrawn = torch.rand(repeated.shape, device=classes.device) < noise * 0.5
    return torch.where(redrawn, torch.randint_like(repeated, num_classes), repeated)


def _noisy_boxes(boxes: Tensor, groups: int, noise: float) -> Tensor:
    """(B, R, 4): corners moved by less than half a side (to fix) or by half to a full side (to reject)."""
    batch, count, _ = boxes.shape
    corners = to_corners(boxes)[:, None, None].expand(-1, groups, 2, -1, -1)
    sizes = boxes[..., 2:].repeat(1, 1, 2)[:, None, None]
    sign = torch.randint(0, 2, corners.shape, device=boxes.device, dtype=boxes.dtype) * 2 - 1
    reach = torch.rand(corners.shape, device=boxes.device, dtype=boxes.dtype)
    reach = reach + torch.arange(2, device=boxes.device, dtype=boxes.dtype)[None, None, :, None, None]
    moved = (corners + sign * reach * sizes * noise / 2).clamp(0, 1)
    return to_centre_and_size(moved).reshape(batch, groups * 2 * count, 4)


def _attention_mask(groups: int, group_size: int, num_queries: int, device: torch.device) -> Tensor:
    """Groups do not see each other, matching queries see no group (it would reveal the truth)."""
    group = torch.arange(groups, device=device).repeat_interleave(group_size)
    group = torch.cat([group, group.new_full((num_queries,), -1)])
    return (group[:, None] != group[None, :]) & (group[None, :] >= 0)
