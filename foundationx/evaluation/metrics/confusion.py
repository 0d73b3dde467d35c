"""Accuracy, F1, MCC, sensitivity and specificity of image labels at thresholds that were chosen on validation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import known_labels
from foundationx.evaluation.statistic import Statistic, ratio, sum_by

NEEDS = ("probabilities",)
MEANINGS = {
    "Accuracy": "share of images on the right side of the threshold",
    "F1": "harmonic mean of precision and sensitivity at the threshold",
    "MCC": "Matthews' correlation of label and decision",
    "Sensitivity": "share of positive images at or above the threshold",
    "Specificity": "share of negative images below the threshold",
}
UNITS = {"MCC": "-1 to 1"}

# Each takes the table of counts (4, R): true negatives, false positives, false negatives, true positives.


def accuracy(table: AnyArray) -> AnyArray:
    """Share of images that are classified correctly."""
    return ratio(table[0] + table[3], table.sum(0))


def f1(table: AnyArray) -> AnyArray:
    """Harmonic mean of precision and sensitivity; not defined if nothing is positive and nothing predicted so."""
    return ratio(2 * table[3], 2 * table[3] + table[1] + table[2])


def mcc(table: AnyArray) -> AnyArray:
    """Matthews' correlation coefficient in [-1, 1]; 0 if all predictions are equal, not defined if all labels are."""
    tn, fp, fn, tp = table
    truths, calls = (tp + fn) * (tn + fp), (tp + fp) * (tn + fn)
    value = np.where(calls == 0, 0.0, (tp * tn - fp * fn) / np.sqrt(np.maximum(truths * calls, 1.0)))
    return np.where((tp + fn == 0) | (tn + fp == 0), np.nan, value)


def sensitivity(table: AnyArray) -> AnyArray:
    """Share of the positive images that are predicted positive."""
    return ratio(table[3], table[2] + table[3])


def specificity(table: AnyArray) -> AnyArray:
    """Share of the negative images that are predicted negative."""
    return ratio(table[0], table[0] + table[1])


METRICS = {
    "Accuracy": accuracy,
    "F1": f1,
    "MCC": mcc,
    "Sensitivity": sensitivity,
    "Specificity": specificity,
}


def statistics(predictions: Predictions) -> list[Statistic]:
    """Every metric of each class that has a threshold, over the images whose label is known."""
    tables = []
    for k, name in enumerate(predictions.classes):
        if name in predictions.thresholds:
            known, truth, probability = known_labels(predictions, k)
            cell = 2 * truth + (probability >= predictions.thresholds[name])
            counts = sum_by(cell.astype(int), predictions.units[known], (4, predictions.patient_count))
            tables.append((name, len(known), counts))
    return [
        Statistic(metric, name, n, partial(_of_counts, function, counts))
        for metric, function in METRICS.items()
        for name, n, counts in tables
    ]


def _of_counts(function: Callable[[AnyArray], AnyArray], counts: csr_matrix, weights: AnyArray) -> AnyArray:
    """A metric (R,) of counts (4, U) by patient under weights (U, R)."""
    return function(counts @ weights)
