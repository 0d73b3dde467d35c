"""Overlap of masks, with the trivial baseline beside it (``foundation_x.md`` section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundationx.evaluate.score import Score, with_mean
from foundationx.types import UNKNOWN_PIXEL


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
        dice, iou, present = (np.concatenate(parts) for parts in (self._dice, self._iou, self._present))
        counted = ~np.isnan(dice)
        tables = {
            "Dice": (dice, counted),
            "Dice positives": (dice, counted & present),
            "Dice empty": ((~present).astype(float), counted),
            "IoU": (iou, counted),
        }
        rows = []
        for metric, (values, chosen) in tables.items():
            scores = [_mean_of(metric, name, values[chosen[:, k], k]) for k, name in enumerate(self.classes)]
            rows += with_mean(metric, scores)
        return rows


def _mean_of(metric: str, name: str, values: np.ndarray) -> Score:
    return Score(metric, name, float(values.mean()) if len(values) else None, len(values))
