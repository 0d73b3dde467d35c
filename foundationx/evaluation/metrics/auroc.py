"""Area under the ROC curve and average precision of image labels, over the images whose label is known."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import Steps, known_labels
from foundationx.evaluation.statistic import Statistic, ratio

NEEDS = ("probabilities",)
MEANINGS = {
    "AUROC": "area under the ROC curve: share of pairs of a positive and a negative image in the right order",
    "AUPRC": "area under the curve of precision and recall; that of guessing is the share of positives",
}

CURVE_POINTS = 200
"""Most points of an ROC curve."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """``AUROC`` and ``AUPRC`` of each class; not defined for one-sided classes."""
    cut = []
    for k, name in enumerate(predictions.classes):
        known, truth, probability = known_labels(predictions, k)
        steps = Steps.of(probability, truth, predictions.units[known], predictions.patient_count)
        cut.append((name, len(known), steps))
    return [
        Statistic(metric, name, n, partial(function, steps))
        for metric, function in (("AUROC", auroc), ("AUPRC", auprc))
        for name, n, steps in cut
    ]


def auroc(steps: Steps, weights: AnyArray) -> AnyArray:
    """Share of (positive, negative) pairs in the right order, ties counting half, (R,); NaN for one-sided labels."""
    positive, negative = steps.weighted(weights)
    below = negative.sum(0) - np.cumsum(negative, axis=0) + negative / 2
    return ratio((positive * below).sum(0), positive.sum(0) * negative.sum(0))


def auprc(steps: Steps, weights: AnyArray) -> AnyArray:
    """Average precision without interpolation, as scikit-learn's, (R,); NaN for one-sided labels."""
    positive, negative = steps.weighted(weights)
    true = np.cumsum(positive, axis=0)
    precision = true / np.maximum(true + np.cumsum(negative, axis=0), np.finfo(float).tiny)
    total = positive.sum(0)
    return ratio((positive * precision).sum(0), np.where(negative.sum(0) > 0, total, 0.0))


def curves(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """ROC curve of each class that is not one-sided, thinned to ``CURVE_POINTS``, with its area."""
    from sklearn.metrics import roc_curve

    areas = {
        statistic.class_name: statistic.value(predictions.patient_count)
        for statistic in statistics(predictions)
        if statistic.metric == "AUROC"
    }
    result = {}
    for k, name in enumerate(predictions.classes):
        if areas[name] is not None:
            _, truth, probability = known_labels(predictions, k)
            fpr, tpr, _ = roc_curve(truth, probability)
            chosen = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), CURVE_POINTS)).astype(int))
            points = {"fpr": fpr[chosen].round(4).tolist(), "tpr": tpr[chosen].round(4).tolist()}
            result[name] = points | {"auroc": areas[name]}
    return result
