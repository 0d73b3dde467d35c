"""Points that a teacher fills in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foundationx.core.types import Batch, TaskKey
from foundationx.tasks.classification.fill import labels_of
from foundationx.tasks.fill import Evidence, Limits
from foundationx.tasks.keypoints.prediction import KeypointsPrediction
from foundationx.tasks.keypoints.target import KeypointsBatch

NEAR = 0.05
"""Distance in shares of the image up to which a place is right."""


def evidence(prediction: KeypointsPrediction, batch: KeypointsBatch) -> Evidence:
    """The visibility of every point of which something is known: right if it is visible and, as far as its place is
    known, near it."""
    visible = batch.visible.numpy()
    off = (prediction.relative_points.float() - batch.points).norm(dim=2).numpy()
    rows, classes = np.nonzero(~np.isnan(visible))
    right = (visible[rows, classes] >= 0.5) & ~(off[rows, classes] > NEAR)
    scores = prediction.visibilities.float().numpy()[rows, classes]
    return Evidence(classes, scores, right, np.zeros(visible.shape[1], dtype=np.int64))


def filled(
    prediction: KeypointsPrediction, batch: Batch, key: TaskKey, limits: Limits, open_: Tensor
) -> tuple[KeypointsBatch, Tensor]:
    """The batch with filled points, and which are present (B, K)."""
    visible = labels_of(prediction.visibilities.float(), limits, open_)
    present = visible == 1
    points = prediction.relative_points.float().masked_fill(~present[..., None], float("nan"))
    extents = torch.full((len(visible), 2), float("nan"), device=visible.device)
    common = (key, batch.images, batch.teacher_images, visible, batch.metas)
    return KeypointsBatch(*common, points=points, visible=visible, extents=extents), present
