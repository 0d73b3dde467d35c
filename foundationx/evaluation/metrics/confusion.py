"""Accuracy, F1, MCC, sensitivity and specificity of image labels at thresholds that were chosen elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foundationx.evaluation.metrics.ranking import known_labels
from foundationx.evaluation.metrics.statistic import Statistic, number_patients, ratio, sum_by
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.thresholds import Threshold

# Each takes the table of counts (4, R): true negatives, false positives, false negatives, true positives.


def accuracy(table: np.ndarray) -> np.ndarray:
    """Share of images that are called right."""
    return ratio(table[0] + table[3], table.sum(0))


def f1(table: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and sensitivity; not defined where nothing is positive and nothing is called so."""
    return ratio(2 * table[3], 2 * table[3] + table[1] + table[2])


def mcc(table: np.ndarray) -> np.ndarray:
    """Matthews' correlation coefficient in [-1, 1]; 0 where all images are called alike, not defined for one side."""
    tn, fp, fn, tp = table
    sides, calls = (tp + fn) * (tn + fp), (tp + fp) * (tn + fn)
    value = np.where(calls == 0, 0.0, (tp * tn - fp * fn) / np.sqrt(np.maximum(sides * calls, 1.0)))
    return np.where((tp + fn == 0) | (tn + fp == 0), np.nan, value)


def sensitivity(table: np.ndarray) -> np.ndarray:
    """Share of the positive images that are called positive."""
    return ratio(table[3], table[2] + table[3])


def specificity(table: np.ndarray) -> np.ndarray:
    """Share of the negative images that are called negative."""
    return ratio(table[0], table[0] + table[1])


METRICS = {
    "Accuracy": accuracy,
    "F1": f1,
    "MCC": mcc,
    "Sensitivity": sensitivity,
    "Specificity": specificity,
}


def statistics(predictions: Predictions, thresholds: Mapping[str, Threshold]) -> list[Statistic]:
    """Every metric of each class that has a threshold, over the images whose label is known."""
    units, patients = number_patients(predictions.patients)
    tables = []
    for k, name in enumerate(predictions.classes):
        if name in thresholds:
            known, truth, probability = known_labels(predictions, k)
            cell = 2 * truth + (probability >= thresholds[name].value)
            tables.append((name, len(known), sum_by(cell.astype(int), units[known], (4, patients))))
    return [
        Statistic(metric, name, n, lambda weights, function=function, counts=counts: function(counts @ weights))
        for metric, function in METRICS.items()
        for name, n, counts in tables
    ]
