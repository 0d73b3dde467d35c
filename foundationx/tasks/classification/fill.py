"""Labels that a teacher fills in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foundationx.core.types import Batch, TaskKey
from foundationx.tasks.classification.prediction import ClassificationPrediction
from foundationx.tasks.fill import Evidence, Limits


def evidence(prediction: ClassificationPrediction, batch: Batch) -> Evidence:
    """The probability of every known label."""
    labels = batch.labels.numpy()
    rows, classes = np.nonzero(~np.isnan(labels))
    scores = prediction.probabilities.float().numpy()[rows, classes]
    return Evidence(classes, scores, labels[rows, classes] >= 0.5, np.zeros(labels.shape[1], dtype=np.int64))


def labels_of(scores: Tensor, limits: Limits, open_: Tensor) -> Tensor:
    """Labels of scores (B, K): 1 from ``present`` on, 0 below ``absent``, NaN between, and where nothing is open."""
    present, absent = (torch.as_tensor(side, dtype=scores.dtype, device=scores.device) for side in _sides(limits))
    labels = torch.full_like(scores, float("nan"))
    labels = labels.masked_fill(scores < absent, 0.0).masked_fill(scores >= present, 1.0)
    return labels.masked_fill(~open_, float("nan"))


def filled(
    prediction: ClassificationPrediction, batch: Batch, key: TaskKey, limits: Limits, open_: Tensor
) -> tuple[Batch, Tensor]:
    """The batch with filled labels, and how many there are that are present (B, K)."""
    labels = labels_of(prediction.probabilities.float(), limits, open_)
    return Batch(key, batch.images, batch.teacher_images, labels, batch.metas), labels == 1


def _sides(limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    return limits.present, limits.absent
