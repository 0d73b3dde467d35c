"""Masks that a teacher fills in, pixel by pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foundationx.core.types import UNKNOWN_PIXEL, Batch, TaskKey
from foundationx.tasks.classification.fill import labels_of
from foundationx.tasks.fill import Evidence, Limits
from foundationx.tasks.segmentation.prediction import SegmentationPrediction
from foundationx.tasks.segmentation.target import SegmentationBatch

STEP = 4
"""Every so manieth row and column is looked at on validation: neighbours say the same."""


def evidence(prediction: SegmentationPrediction, batch: SegmentationBatch) -> Evidence:
    """The probability of known pixels on a coarse grid."""
    masks = batch.masks[..., ::STEP, ::STEP].numpy()
    scores = prediction.masks[..., ::STEP, ::STEP].float().numpy()
    known = masks != UNKNOWN_PIXEL
    classes = np.broadcast_to(np.arange(masks.shape[1])[None, :, None, None], masks.shape)[known]
    return Evidence(classes, scores[known], masks[known] == 1, np.zeros(masks.shape[1], dtype=np.int64))


def filled(
    prediction: SegmentationPrediction, batch: Batch, key: TaskKey, limits: Limits, open_: Tensor
) -> tuple[SegmentationBatch, Tensor]:
    """The batch with filled masks, and the number of foreground pixels (B, K)."""
    number, classes, height, width = prediction.masks.shape
    scores = prediction.masks.float().permute(0, 2, 3, 1).reshape(-1, classes)
    opened = open_[:, None, None].expand(-1, height, width, -1).reshape(-1, classes)
    pixels = labels_of(scores, limits, opened).reshape(number, height, width, classes).permute(0, 3, 1, 2)
    masks = pixels.nan_to_num(UNKNOWN_PIXEL).to(torch.uint8)
    count = (masks == 1).sum(dim=(2, 3))
    unknown = (masks == UNKNOWN_PIXEL).any(dim=3).any(dim=2)
    labels = (count > 0).float().masked_fill(unknown & (count == 0), float("nan"))
    common = (key, batch.images, batch.teacher_images, labels, batch.metas)
    return SegmentationBatch(*common, masks=masks.contiguous()), count
