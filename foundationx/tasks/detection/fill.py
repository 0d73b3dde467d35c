"""Boxes that a teacher fills in; what is uncertain becomes a region in which the class is unknown."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foundationx.core.types import Batch, TaskKey
from foundationx.tasks.detection.boxes import to_centre_and_size
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.record import true_boxes
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.fill import Evidence, Limits

OVERLAP = 0.5
"""Least IoU of a right box."""

LEAST_SCORE = 0.01
"""Boxes below this score are no answer."""


def evidence(prediction: DetectionPrediction, batch: DetectionBatch) -> Evidence:
    """Every predicted box of an annotated class: right if it is the best one on a true box of its class."""
    known = ~np.isnan(batch.labels.numpy())
    found: list[tuple[int, float, bool]] = []
    missed = np.zeros(known.shape[1], dtype=np.int64)
    for index in range(len(batch)):
        corners, classes = true_boxes(batch, index)
        free = np.ones(len(corners), dtype=bool)
        parts = (prediction.relative_boxes, prediction.scores, prediction.box_classes)
        for box, score, k in zip(*(part[index].numpy() for part in parts), strict=True):
            if score < LEAST_SCORE or not known[index, k]:
                continue
            overlaps = np.where(free & (classes == k), _iou(box, corners), 0.0)
            best = int(overlaps.argmax()) if len(overlaps) else -1
            hit = best >= 0 and overlaps[best] >= OVERLAP
            if hit:
                free[best] = False
            found.append((int(k), float(score), bool(hit)))
        np.add.at(missed, classes[free], 1)
    kinds, scores, truth = (np.array([row[column] for row in found]) for column in range(3))
    return Evidence(kinds.astype(np.int64), scores.astype(np.float64), truth.astype(bool), missed)


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of a box (4,) with others (T, 4), x1 y1 x2 y2."""
    least, most = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    overlap = np.clip(most - least, 0, None).prod(axis=1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1)
    return overlap / np.maximum(areas - overlap, 1e-12)


def filled(
    prediction: DetectionPrediction, batch: Batch, key: TaskKey, limits: Limits, open_: Tensor
) -> tuple[DetectionBatch, Tensor]:
    """The batch with filled boxes, and their number (B, K).

    A class whose absence validation cannot show is unknown outside its boxes: the whole image is such a region.
    """
    scores, kinds = prediction.scores.float(), prediction.box_classes
    present, absent = (
        torch.as_tensor(side, dtype=scores.dtype, device=scores.device) for side in (limits.present, limits.absent)
    )
    fillable = open_ & torch.isfinite(present)
    may = fillable.gather(1, kinds)
    sure = may & (scores >= present[kinds])
    unsure = may & ~sure & (scores >= absent[kinds]) & (absent > 0)[kinds]
    boxes = to_centre_and_size(prediction.relative_boxes.float())
    centred, box_classes = _packed(boxes, kinds, sure)
    regions, region_classes = _packed(boxes, kinds, unsure)
    everywhere, of_everywhere = _whole_images(fillable & (absent <= 0))
    count = torch.zeros_like(open_, dtype=torch.long).scatter_add(1, kinds, sure.long())
    doubtful = torch.zeros_like(count).scatter_add(1, kinds, unsure.long()) > 0
    # A class with doubtful boxes alone still teaches outside of them: it is known, though not whether it is present.
    seen = fillable & ((absent > 0) | (count > 0))
    labels = ((count > 0) | doubtful).float().masked_fill(~seen, float("nan"))
    made = DetectionBatch(
        key,
        batch.images,
        batch.teacher_images,
        labels,
        batch.metas,
        centred_boxes=centred,
        box_classes=box_classes,
        ignored_boxes=torch.cat([regions, everywhere], dim=1),
        ignored_classes=torch.cat([region_classes, of_everywhere], dim=1),
    )
    return made, count


def _packed(boxes: Tensor, kinds: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen ones of (B, Q, 4) boxes first, cut to the largest number: (B, T, 4), classes (B, T), -1 for none."""
    most = int(chosen.sum(dim=1).max())
    order = chosen.long().argsort(dim=1, descending=True, stable=True)[:, :most]
    kept = chosen.gather(1, order)
    taken = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    return taken.masked_fill(~kept[..., None], 0.0), kinds.gather(1, order).masked_fill(~kept, -1)


def _whole_images(classes: Tensor) -> tuple[Tensor, Tensor]:
    """A region that covers the image for each class of (B, K)."""
    number, count = classes.shape
    regions = classes.new_tensor([0.5, 0.5, 1.0, 1.0], dtype=torch.float32).expand(number, count, 4)
    names = torch.arange(count, device=classes.device).expand(number, -1)
    return regions, names.masked_fill(~classes, -1)
