"""Area under the ROC curve and average precision of image labels, over the images whose label is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from foundationx.evaluation.metrics.score import Score, with_mean

POSITIVE = 0.5
"""Soft labels from here on count as positive."""

CURVE_POINTS = 200


class Auroc:
    """Collects probabilities and labels; scikit-learn computes.

    Args:
        classes: K names.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self._probabilities: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """One batch: (B, K) probabilities and (B, K) tri-state labels."""
        self._probabilities.append(np.asarray(probabilities, dtype=np.float64))
        self._labels.append(np.asarray(labels, dtype=np.float64))

    def rows(self) -> list[Score]:
        """AUROC and AUPRC of each class and their means; None for a class with one side only, which no mean holds."""
        rows = []
        for metric, function in (("AUROC", roc_auc_score), ("AUPRC", average_precision_score)):
            scores = []
            for name, truth, probability in self._known():
                defined = 0 < truth.sum() < len(truth)
                value = float(function(truth, probability)) if defined else None
                scores.append(Score(metric, name, value, len(truth)))
            rows += with_mean(metric, scores)
        return rows

    def curves(self) -> dict[str, dict[str, Any]]:
        """ROC curve of each class where it is defined, thinned to a few hundred points."""
        curves = {}
        for name, truth, probability in self._known():
            if 0 < truth.sum() < len(truth):
                fpr, tpr, _ = roc_curve(truth, probability)
                chosen = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), CURVE_POINTS)).astype(int))
                points = {"fpr": fpr[chosen].round(4).tolist(), "tpr": tpr[chosen].round(4).tolist()}
                curves[name] = points | {"auroc": float(roc_auc_score(truth, probability))}
        return curves

    def _known(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Class, truth (n,) of 0 and 1, and probability (n,), over the images where it is known."""
        if not self._labels:
            return [(name, np.zeros(0), np.zeros(0)) for name in self.classes]
        labels, probabilities = np.concatenate(self._labels), np.concatenate(self._probabilities)
        known = ~np.isnan(labels)
        return [
            (name, (labels[known[:, k], k] >= POSITIVE).astype(int), probabilities[known[:, k], k])
            for k, name in enumerate(self.classes)
        ]
