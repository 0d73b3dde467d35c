"""Expected calibration error of image labels: are images with probability p positive with frequency p?"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import known_labels
from foundationx.evaluation.statistic import Statistic, ratio, sum_by

NEEDS = ("probabilities",)
LOWER_IS_BETTER = ("ECE",)
MEANINGS = {"ECE": "expected calibration error: gap between probability and share of positives"}

BINS = 15
"""Bins of equal width over [0, 1] (Naeini et al., AAAI 2015; Guo et al., ICML 2017)."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """``ECE`` of each class: gap between mean probability and share of positives in a bin, averaged over images.

    Bin b holds probabilities in [b / 15, (b + 1) / 15), the last one 1 as well. This is the calibration of the binary
    probability of each class, over the images whose label is known; it is defined for one-sided classes too.
    """
    result = []
    for k, name in enumerate(predictions.classes):
        known, truth, probability = known_labels(predictions, k)
        units, patients = predictions.units[known], predictions.patient_count
        bins = bins_of(probability)
        gaps = sum_by(bins, units, (BINS, patients), probability - truth)
        number = sum_by(np.zeros(len(known), dtype=int), units, (1, patients))
        result.append(Statistic("ECE", name, len(known), partial(_error, gaps, number)))
    return result


def bins_of(probability: AnyArray) -> AnyArray:
    """Bin (n,) of each probability (n,), from 0; the last bin holds 1 as well."""
    return np.clip((probability * BINS).astype(int), 0, BINS - 1)


def _error(gaps: csr_matrix, number: csr_matrix, weights: AnyArray) -> AnyArray:
    """Sum over bins of |sum of probability minus truth| per image (a bin's share of images cancels its own mean)."""
    return ratio(np.abs(gaps @ weights).sum(0), (number @ weights)[0])
