"""AP40, AP50 and AP of boxes: COCO's 101-point average precision, over the images in which the class was annotated.

``tests/evaluation/metrics/test_average_precision.py`` compares the values with pycocotools' own evaluator.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.matching import IOUS, Matches, match_boxes
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import Steps
from foundationx.evaluation.statistic import Statistic, sum_by

NEEDS = (
    *("boxes", "scores", "box_classes", "true_boxes", "true_classes"),
    *("ignored_boxes", "ignored_classes"),
)

MEANINGS = {
    "AP40": "average precision of boxes; a hit overlaps its true box by IoU 0.40 (the published mAP40)",
    "AP50": "average precision of boxes; a hit overlaps its true box by IoU 0.50",
    "AP": "average precision of boxes, mean over IoU 0.50 to 0.95, as in COCO",
}

METRICS = {"AP40": range(1), "AP50": range(1, 2), "AP": range(1, len(IOUS))}
"""Which of ``IOUS`` each metric is the mean over: AP40 is the published mAP40, AP is over 0.50:0.05:0.95."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read, as in pycocotools."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """``AP40``, ``AP50`` and ``AP`` of each class; not defined without a true box.

    Boxes in regions in which the class is unknown count neither for nor against it, as in COCO's crowd regions.
    """
    matches = predictions.derive(match_boxes)
    units, patients = predictions.units, predictions.patient_count
    return [
        Statistic(metric, name, len(match.true_images), partial(mean_precision, match, ious, units, patients))
        for metric, ious in METRICS.items()
        for name, match in zip(predictions.classes, matches, strict=True)
    ]


def mean_precision(matches: Matches, ious: range, units: AnyArray, patients: int, weights: AnyArray) -> AnyArray:
    """Mean of the average precision over overlaps, (R,), under weights (U, R); NaN without a true box.

    Args:
        matches: Boxes of one class.
        ious: Indices of ``IOUS``.
        units: (N,) patient index of each image.
        patients: U, the number of patients.
        weights: (U, R) weights of the patients.
    """
    true = sum_by(np.zeros(len(matches.true_images), dtype=int), units[matches.true_images], (1, patients))
    total = (true @ weights)[0]
    if not total.any():
        return np.full(len(total), np.nan)
    values = []
    for iou in ious:
        scores, hits, images = matches.counted(iou)
        steps = Steps.of(scores, hits, units[images], patients, tied=False)
        values.append(_precision(steps, total, weights))
    return np.mean(values, axis=0)


def _precision(steps: Steps, total: AnyArray, weights: AnyArray) -> AnyArray:
    """Average precision (R,); NaN if ``total`` (R,), the weight of the true boxes, is 0.

    A box drawn w times is one step of weight w. Precision rises along a step of hits and falls along one of misses, and
    the interpolated curve takes the best precision to the right, so that nothing between the steps matters.
    """
    positive, negative = steps.weighted(weights)
    true, false = np.cumsum(positive, axis=0), np.cumsum(negative, axis=0)
    precision = true / (true + false + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    values = np.full(len(total), np.nan)
    true, envelope = np.ascontiguousarray(true.T), np.ascontiguousarray(envelope.T)  # a draw's steps lie together
    for draw in np.flatnonzero(total):
        reached = np.searchsorted(true[draw] / total[draw], RECALLS, side="left")
        values[draw] = envelope[draw, reached[reached < envelope.shape[1]]].sum() / len(RECALLS)
    return values
