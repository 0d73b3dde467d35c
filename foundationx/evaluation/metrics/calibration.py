"""Expected calibration error of image labels: do probabilities mean what they say?"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.evaluation.metrics.ranking import known_labels
from foundationx.evaluation.metrics.statistic import Statistic, number_patients, ratio, sum_by
from foundationx.evaluation.predictions import Predictions

BINS = 15
"""Bins of equal width over [0, 1] (Naeini et al., AAAI 2015; Guo et al., ICML 2017)."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """``ECE`` of each class: the gap between mean probability and share of positives in a bin, averaged over images.

    Bin b holds probabilities in [b / 15, (b + 1) / 15), the last one 1 as well. This is the calibration of the binary
    probability of each class, over the images whose label is known; it is defined for one-sided classes too.
    """
    units, patients = number_patients(predictions.patients)
    found = []
    for k, name in enumerate(predictions.classes):
        known, truth, probability = known_labels(predictions, k)
        place = np.clip((probability * BINS).astype(int), 0, BINS - 1)
        gaps = sum_by(place, units[known], (BINS, patients), probability - truth)
        number = sum_by(np.zeros(len(known), dtype=int), units[known], (1, patients))
        found.append(Statistic("ECE", name, len(known), lambda weights, g=gaps, n=number: _error(g, n, weights)))
    return found


def _error(gaps: csr_matrix, number: csr_matrix, weights: np.ndarray) -> np.ndarray:
    """Sum over bins of |sum of probability less truth|, by image (a bin's share of images cancels its own mean)."""
    return ratio(np.abs(gaps @ weights).sum(0), (number @ weights)[0])
