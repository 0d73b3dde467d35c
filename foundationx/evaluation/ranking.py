"""Rankings under patients' weights: what AUROC, AUPRC, AP and FROC rest on.

Along a ranking only the positions of the positives matter: all negatives between two of them are one step. A class with
few positives has few steps, however many images there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import sum_by

POSITIVE = 0.5
"""Soft labels from here on count as positive."""


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
    def of(cls, scores: AnyArray, truth: AnyArray, units: AnyArray, patients: int, tied: bool = True) -> Steps:
        """Cuts a ranking.

        Args:
            scores: (N,) scores, the best highest.
            truth: (N,) bool, positive or not.
            units: (N,) patient index of each item.
            patients: U, the number of patients.
            tied: Whether items of equal score are one step; else they keep their order, as in COCO.
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

    def weighted(self, weights: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Weight of the positives and of the negatives in each step, (S, R) each, under weights (U, R)."""
        return self.positives @ weights, self.negatives @ weights


def known_labels(predictions: Predictions, k: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The images whose label of class ``k`` is known.

    Returns:
        Their indices (n,), whether each is positive (n,) bool, and their probabilities (n,) float64.
    """
    labels = predictions.labels[:, k]
    known = np.flatnonzero(~np.isnan(labels))
    return known, labels[known] >= POSITIVE, predictions.array("probabilities")[known, k].astype(np.float64)


def counts_at_scores(scores: AnyArray, hits: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Hits and misses at and above each score that occurs, the highest first.

    Args:
        scores: (n,) scores.
        hits: (n,) bool.

    Returns:
        Scores (s,), hits (s,) and misses (s,) at or above them; items of one score are in or out together.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, dtype=bool)
    return scores[last], np.cumsum(hits)[last], np.cumsum(~hits)[last]
