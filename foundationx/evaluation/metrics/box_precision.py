"""AP40, AP50 and AP of boxes under patients' weights: COCO's 101-point average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundationx.evaluation.metrics.average_precision import RECALLS
from foundationx.evaluation.metrics.matching import Matches
from foundationx.evaluation.metrics.ranking import Steps
from foundationx.evaluation.metrics.statistic import Statistic, number_patients, sum_by

METRICS = {"AP40": slice(0, 1), "AP50": slice(1, 2), "AP": slice(1, None)}
"""Which of ``average_precision.IOUS`` each metric is the mean over."""


def statistics(classes: Sequence[str], patients: np.ndarray, matches: Sequence[Matches]) -> list[Statistic]:
    """AP40, AP50 and AP of each class; not defined without a true box.

    Args:
        classes: K names.
        patients: (N,) names, one an image.
        matches: K, each at all of ``average_precision.IOUS``.
    """
    units, number = number_patients(patients)
    judges = [_Judge(match, units, number) for match in matches]
    return [
        Statistic(metric, name, len(match.true_images), lambda weights, j=judge, p=places: j.mean(weights, p))
        for metric, places in METRICS.items()
        for name, match, judge in zip(classes, matches, judges, strict=True)
    ]


class _Judge:
    """One class: its ranking at each overlap, and true boxes by patient."""

    def __init__(self, matches: Matches, units: np.ndarray, patients: int):
        owners = units[matches.box_images]
        self.steps = [Steps.of(matches.scores, hits, owners, patients, tied=False) for hits in matches.hits]
        zero = np.zeros(len(matches.true_images), dtype=int)
        self.true = sum_by(zero, units[matches.true_images], (1, patients))

    def mean(self, weights: np.ndarray, places: slice) -> np.ndarray:
        """Mean over the overlaps of ``places``, (R,), under weights (U, R)."""
        total = (self.true @ weights)[0]
        return np.mean([_precision(steps, total, weights) for steps in self.steps[places]], axis=0)


def _precision(steps: Steps, total: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision (R,); NaN where ``total`` (R,), the weight of the true boxes, is 0.

    A box drawn w times is one step of weight w. Precision rises along a step of hits and falls along one of misses, and
    the interpolated curve takes the best precision to the right, so that nothing between the steps matters.
    """
    positive, negative = steps.weighted(weights)
    true, false = np.cumsum(positive, axis=0), np.cumsum(negative, axis=0)
    precision = true / (true + false + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    values = np.full(len(total), np.nan)
    for draw in np.flatnonzero(total):
        reached = np.searchsorted(true[:, draw] / total[draw], RECALLS, side="left")
        values[draw] = envelope[reached[reached < len(envelope)], draw].sum() / len(RECALLS)
    return values
