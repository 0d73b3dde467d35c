"""FROC: share of objects detected at a number of false positives per image (Bunch et al., 1977; LUNA16's mean)."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.matching import Matches, match_boxes
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import Steps
from foundationx.evaluation.statistic import Statistic, ratio, sum_by

NEEDS = (
    *("boxes", "scores", "box_classes", "true_boxes", "true_classes"),
    *("ignored_boxes", "ignored_classes"),
)

RATES = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0}
"""False positives per image."""

POINTS = {f"FROC {name}": rate for name, rate in RATES.items()}
"""Rates by the metric's name."""

DETAILS = tuple(POINTS)

MEANINGS = {"FROC": "share of true boxes found, mean over 1/8 to 8 false positives per image"}

IOU = 0
"""Index of the overlap from which on a box is a hit: that of AP40."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """``FROC 1/8`` ... ``FROC 8`` and ``FROC``, their mean, of each class; not defined without a true box.

    Sensitivity is that of the lowest threshold at which there are not more false positives per image, over the images
    in which the class was annotated, those without the class included. Boxes of one score are in or out together. A
    second box on one object is a false positive, as in ``AP40``; one in a region in which the class is unknown is not.
    """
    rankings = [_Ranking(match, predictions) for match in predictions.derive(match_boxes)]
    rates_of = {"FROC": tuple(RATES.values())} | {name: (rate,) for name, rate in POINTS.items()}
    return [
        Statistic(metric, name, ranking.n, partial(ranking.mean_sensitivity, rates))
        for metric, rates in rates_of.items()
        for name, ranking in zip(predictions.classes, rankings, strict=True)
    ]


class _Ranking:
    """Boxes of one class, best first, with the numbers of true boxes and images of each patient."""

    def __init__(self, matches: Matches, predictions: Predictions):
        units, patients = predictions.units, predictions.patient_count
        self.n = len(matches.true_images)
        scores, hits, images = matches.counted(IOU)
        self.steps = Steps.of(scores, hits, units[images], patients)
        self.true = _count(units[matches.true_images], patients)
        self.images = _count(units[matches.images], patients)

    def mean_sensitivity(self, rates: tuple[float, ...], weights: AnyArray) -> AnyArray:
        """Mean sensitivity over rates of false positives, (R,), under weights (U, R); NaN without a true box."""
        positive, negative = self.steps.weighted(weights)
        false, images = np.cumsum(negative, axis=0), (self.images @ weights)[0]
        sensitivities = [np.where(false <= rate * images, positive, 0.0).sum(0) for rate in rates]
        return ratio(np.mean(sensitivities, axis=0), (self.true @ weights)[0])


def _count(units: AnyArray, patients: int) -> csr_matrix:
    """Number of items by patient, (1, U)."""
    return sum_by(np.zeros(len(units), dtype=int), units, (1, patients))
