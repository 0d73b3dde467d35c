"""Metrics of a ranking under patients' weights: AUROC and AUPRC of images, and the steps that AP and FROC rest on.

Along a ranking only the places of the positives matter: all negatives between two of them are one step. A class with
few positives has few steps, however many images there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.evaluation.metrics.auroc import POSITIVE
from foundationx.evaluation.metrics.statistic import Statistic, number_patients, ratio, sum_by
from foundationx.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Steps:
    """A ranking, best first, cut into steps: each group of equal scores that holds a positive, and each run of other
    items between such groups.

    Attributes:
        positives, negatives: (S, U) matrices of counts by step and patient.
    """

    positives: csr_matrix
    negatives: csr_matrix

    @classmethod
    def of(cls, scores: np.ndarray, truth: np.ndarray, units: np.ndarray, patients: int, tied: bool = True) -> Steps:
        """Cuts a ranking.

        Args:
            scores: (N,), the best highest.
            truth: (N,) bool, positive or not.
            units: (N,) patient index of each item.
            patients: U.
            tied: items of equal score are one step; else they keep their order, as in COCO.
        """
        order = np.argsort(-scores, kind="stable")
        scores, truth, units = scores[order], truth[order], units[order]
        fresh = np.ones(len(scores), dtype=bool)
        if tied:
            fresh[1:] = scores[1:] != scores[:-1]
        group = np.cumsum(fresh) - 1
        holds = np.zeros(len(scores), dtype=bool)
        holds[group[truth]] = True  # by group: does it hold a positive?
        begins = np.ones(len(scores), dtype=bool)
        begins[1:] = holds[1:] | holds[:-1]
        step = (np.cumsum(begins) - 1)[group]
        shape = (int(step[-1]) + 1 if len(step) else 0, patients)
        return cls(sum_by(step[truth], units[truth], shape), sum_by(step[~truth], units[~truth], shape))

    def weighted(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of the positives and of the negatives in each step, (S, R) each, under weights (U, R)."""
        return self.positives @ weights, self.negatives @ weights


def auroc(steps: Steps, weights: np.ndarray) -> np.ndarray:
    """Share of (positive, negative) pairs in the right order, ties counting half, (R,); NaN with one side only."""
    positive, negative = steps.weighted(weights)
    below = negative.sum(0) - np.cumsum(negative, axis=0) + negative / 2
    return ratio((positive * below).sum(0), positive.sum(0) * negative.sum(0))


def auprc(steps: Steps, weights: np.ndarray) -> np.ndarray:
    """Average precision without interpolation, as scikit-learn's, (R,); NaN with one side only."""
    positive, negative = steps.weighted(weights)
    found = np.cumsum(positive, axis=0)
    precision = found / np.maximum(found + np.cumsum(negative, axis=0), np.finfo(float).tiny)
    total = positive.sum(0)
    return ratio((positive * precision).sum(0), np.where(negative.sum(0) > 0, total, 0.0))


def known_labels(predictions: Predictions, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of class ``k`` the images (n,) whose label is known, whether it is positive (n,), and the probability (n,)."""
    labels = predictions.labels[:, k]
    known = np.flatnonzero(~np.isnan(labels))
    return known, labels[known] >= POSITIVE, predictions.probabilities[known, k].astype(np.float64)


def statistics(predictions: Predictions) -> list[Statistic]:
    """AUROC and AUPRC of each class over the images whose label is known; not defined for one-sided classes."""
    units, patients = number_patients(predictions.patients)
    cut = []
    for k, name in enumerate(predictions.classes):
        known, truth, probability = known_labels(predictions, k)
        cut.append((name, len(known), Steps.of(probability, truth, units[known], patients)))
    return [
        Statistic(metric, name, n, lambda weights, function=function, steps=steps: function(steps, weights))
        for metric, function in (("AUROC", auroc), ("AUPRC", auprc))
        for name, n, steps in cut
    ]
