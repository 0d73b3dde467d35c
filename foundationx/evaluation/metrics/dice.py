"""Overlap of masks, with the score of predicting nothing beside it."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as rle

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import Statistic, mean_over_images

NEEDS = ("predicted_masks", "true_masks", "known_masks")
MEANINGS = {
    "Dice": "overlap of masks, mean over images; both masks empty scores 1",
    "Dice positives": "the same over the images in which the class is present",
    "Dice empty": "no result of the model: what predicting nothing scores on the same images",
    "IoU": "intersection over union of masks, mean over images; both masks empty scores 1",
}


def statistics(predictions: Predictions) -> list[Statistic]:
    """Hard Dice and IoU of each image, then the mean over images; unknown pixels are left out of both masks.

    ``Dice`` and ``IoU`` (both empty scores 1, as published), ``Dice positives`` (images in which the class is present)
    and ``Dice empty`` (what predicting nothing would score on the same images). An image in which every pixel of a
    class is unknown does not count for that class.
    """
    known, true, predicted, overlap = predictions.derive(pixel_counts)
    total = true + predicted
    dice = np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))
    iou = np.where(total == 0, 1.0, overlap / np.maximum(total - overlap, 1))
    counted, present = known > 0, true > 0
    return mean_over_images(
        predictions,
        {
            "Dice": np.where(counted, dice, np.nan),
            "Dice positives": np.where(counted & present, dice, np.nan),
            "Dice empty": np.where(counted, ~present, np.nan),
            "IoU": np.where(counted, iou, np.nan),
        },
    )


def pixel_counts(predictions: Predictions) -> AnyArray:
    """Pixels (4, N, K) that are known; known and true; known and predicted; and all three. No mask is decoded."""
    stacks = [predictions.masks(name) for name in NEEDS]
    counts = np.zeros((4, len(predictions), len(predictions.classes)), dtype=np.int64)
    for image in range(len(predictions)):
        for k, (predicted, true, known) in enumerate(zip(*(stack.coded(image) for stack in stacks), strict=True)):
            inside = [rle.merge([mask, known], intersect=True) for mask in (true, predicted)]
            counts[:, image, k] = rle.area([known, *inside, rle.merge(inside, intersect=True)])
    return counts
