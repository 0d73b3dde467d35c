"""Points of the curves that the report draws: precision and recall, calibration, FROC.

``tests/evaluation/test_curves.py`` compares them with scikit-learn and with slow loops. ROC curves are in
``metrics/auroc.py``: they are kept at every evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.matching import match_boxes
from foundationx.evaluation.metrics.calibration import BINS, bins_of
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import counts_at_scores, known_labels
from foundationx.evaluation.thresholds import HIT


@dataclass(frozen=True)
class Curve:
    """A curve of one class.

    Attributes:
        x, y: (n,) its points.
        number: (n,) images that each point rests on; None if all rest on the same.
    """

    x: AnyArray
    y: AnyArray
    number: AnyArray | None = None


def precision_recall(predictions: Predictions) -> dict[str, Curve]:
    """Precision (y) at each recall (x) by class: of image labels, or of boxes with hits as in ``AP40``.

    The first point is recall 0 with the precision of the highest score. Classes without a positive are left out, as
    are those of predictions that have no scores.
    """
    curves = {}
    for k, name in enumerate(predictions.classes):
        scores, hits, total = _ranked(predictions, k)
        if total and len(scores):
            _, true, false = counts_at_scores(scores, hits)
            precision = true / (true + false)
            curves[name] = Curve(np.append(0.0, true / total), np.append(precision[0], precision))
    return curves


def _ranked(predictions: Predictions, k: int) -> tuple[AnyArray, AnyArray, int]:
    """Scores of class ``k``, whether each is right, and the number of positives."""
    if "probabilities" in predictions.recorded:
        _, truth, scores = known_labels(predictions, k)
        return scores, truth, int(truth.sum())
    if "scores" in predictions.recorded:
        matches = predictions.derive(match_boxes)[k]
        scores, hits, _ = matches.counted(HIT)
        return scores, hits, len(matches.true_images)
    return np.zeros(0), np.zeros(0, dtype=bool), 0


def calibration(predictions: Predictions) -> dict[str, Curve]:
    """Share of positives (y) beside the mean probability (x) in the bins of ``ECE``, by class; empty bins are left out.

    ``number`` is the number of images in each bin. Predictions without probabilities have none.
    """
    if "probabilities" not in predictions.recorded:
        return {}
    curves = {}
    for k, name in enumerate(predictions.classes):
        _, truth, probability = known_labels(predictions, k)
        bins = bins_of(probability)
        number = np.bincount(bins, minlength=BINS)
        used = number > 0
        mean = np.bincount(bins, probability, BINS)[used] / number[used]
        share = np.bincount(bins, truth, BINS)[used] / number[used]
        if used.any():
            curves[name] = Curve(mean, share, number[used])
    return curves


def froc(predictions: Predictions) -> dict[str, Curve]:
    """Share of true boxes found (y) at a number of false positives per image (x) by class, as in ``FROC``.

    Images are those in which the class was annotated. Classes without a true box are left out.
    """
    if "scores" not in predictions.recorded:
        return {}
    curves = {}
    for name, matches in zip(predictions.classes, predictions.derive(match_boxes), strict=True):
        scores, hits, _ = matches.counted(HIT)
        if len(matches.true_images) and len(scores):
            _, true, false = counts_at_scores(scores, hits)
            curves[name] = Curve(false / len(matches.images), true / len(matches.true_images))
    return curves
