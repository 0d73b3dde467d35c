"""Overlap of masks, with the trivial baseline beside it (``foundation_x.md`` section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundationx.core.types import UNKNOWN_PIXEL
from foundationx.evaluation.metrics.score import Score, with_mean
from foundationx.evaluation.metrics.statistic import Statistic, mean_over, number_patients
from foundationx.evaluation.predictions import Predictions


class Dice:
    """Hard Dice and IoU of each image, then the mean over images; unknown pixels are left out on both sides.

    An image where every pixel of a class is unknown does not count for that class.

    Args:
        classes: K names.
        threshold: probability from which a pixel is foreground.
    """

    def __init__(self, classes: Sequence[str], threshold: float = 0.5):
        self.classes = tuple(classes)
        self.threshold = threshold
        empty = (0, len(self.classes))
        self._dice = [np.zeros(empty)]
        self._iou = [np.zeros(empty)]
        self._present = [np.zeros(empty, dtype=bool)]

    def add(self, probabilities: np.ndarray, masks: np.ndarray) -> None:
        """One batch: (B, K, H, W) probabilities in [0, 1] and (B, K, H, W) masks of 0, 1 and 255 (unknown)."""
        known = masks != UNKNOWN_PIXEL
        truth = masks == 1
        predicted = (probabilities >= self.threshold) & known
        pixels = (2, 3)
        overlap = (truth & predicted).sum(pixels)
        total = truth.sum(pixels) + predicted.sum(pixels)
        counted, both_empty = known.any(pixels), total == 0
        dice = np.where(both_empty, 1.0, 2 * overlap / np.maximum(total, 1))
        iou = np.where(both_empty, 1.0, overlap / np.maximum(total - overlap, 1))
        self._dice.append(np.where(counted, dice, np.nan))
        self._iou.append(np.where(counted, iou, np.nan))
        self._present.append(truth.any(pixels))

    def rows(self) -> list[Score]:
        """Rows of each class and their means.

        ``Dice`` and ``IoU`` (both empty scores 1, as published), ``Dice positives`` (images where the class is present)
        and ``Dice empty`` (what predicting nothing would score on the same images).
        """
        rows = []
        for metric, values in self.tables().items():
            counted = ~np.isnan(values)
            scores = [_mean_of(metric, name, values[counted[:, k], k]) for k, name in enumerate(self.classes)]
            rows += with_mean(metric, scores)
        return rows

    def tables(self) -> dict[str, np.ndarray]:
        """Values (N, K) of each metric of ``rows``, NaN where an image does not count."""
        dice, iou, present = (np.concatenate(parts) for parts in (self._dice, self._iou, self._present))
        return {
            "Dice": dice,
            "Dice positives": np.where(present, dice, np.nan),
            "Dice empty": np.where(np.isnan(dice), np.nan, ~present),
            "IoU": iou,
        }


def statistics(predictions: Predictions) -> list[Statistic]:
    """The metrics of ``Dice.rows`` from stored predictions."""
    metric = Dice(predictions.classes)
    for image in range(len(predictions)):
        predicted, true, known = (stack[None] for stack in predictions.masks_of(image))
        metric.add(predicted, np.where(known, true, UNKNOWN_PIXEL))
    units, patients = number_patients(predictions.patients)
    return [
        mean_over(name, class_name, table[:, k], units, patients)
        for name, table in metric.tables().items()
        for k, class_name in enumerate(predictions.classes)
    ]


def _mean_of(metric: str, name: str, values: np.ndarray) -> Score:
    return Score(metric, name, float(values.mean()) if len(values) else None, len(values))
