"""FROC: how many objects are found at so many false alarms an image (Bunch et al., 1977; LUNA16's mean of seven)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.evaluation.metrics.average_precision import IOUS
from foundationx.evaluation.metrics.matching import Matches
from foundationx.evaluation.metrics.ranking import Steps
from foundationx.evaluation.metrics.statistic import Statistic, number_patients, ratio, sum_by

RATES = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0}
"""False positives an image."""

POINTS = {f"FROC {name}": rate for name, rate in RATES.items()}
"""Rates by the metric's name."""

IOU = float(IOUS[0])
"""Overlap from which a box is a hit: that of AP40."""


def statistics(classes: Sequence[str], patients: np.ndarray, matches: Sequence[Matches]) -> list[Statistic]:
    """``FROC 1/8`` ... ``FROC 8`` and ``FROC``, their mean, of each class; not defined without a true box.

    Sensitivity is that of the lowest threshold at which there are not more false positives an image, over the images
    where the class was annotated, those without the class included. Boxes of one score are in or out together. A second
    box on one object is a false positive, as in ``AP40``.

    Args:
        classes: K names.
        patients: (N,) names, one an image.
        matches: K, each with ``IOUS`` as overlaps.
    """
    units, number = number_patients(patients)
    judges = [_Judge(match, units, number) for match in matches]
    wanted = {"FROC": tuple(RATES.values())} | {name: (rate,) for name, rate in POINTS.items()}
    return [
        Statistic(metric, name, len(match.true_images), lambda weights, j=judge, r=rates: j.mean(weights, r))
        for metric, rates in wanted.items()
        for name, match, judge in zip(classes, matches, judges, strict=True)
    ]


class _Judge:
    """One class: its ranking, true boxes and images by patient."""

    def __init__(self, matches: Matches, units: np.ndarray, patients: int):
        self.steps = Steps.of(matches.scores, matches.hits[0], units[matches.box_images], patients)
        self.true = _count(units[matches.true_images], patients)
        self.images = _count(units[matches.images], patients)

    def mean(self, weights: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
        """Mean sensitivity over the rates, (R,), under weights (U, R)."""
        positive, negative = self.steps.weighted(weights)
        alarms, images = np.cumsum(negative, axis=0), (self.images @ weights)[0]
        found = [np.where(alarms <= rate * images, positive, 0.0).sum(0) for rate in rates]
        return ratio(np.mean(found, axis=0), (self.true @ weights)[0])


def _count(units: np.ndarray, patients: int) -> csr_matrix:
    """Number of items by patient, (1, U)."""
    return sum_by(np.zeros(len(units), dtype=int), units, (1, patients))
