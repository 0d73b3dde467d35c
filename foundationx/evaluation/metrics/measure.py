"""Every metric of one head from its stored predictions."""

from __future__ import annotations

from collections.abc import Mapping

from foundationx.core.types import Task
from foundationx.evaluation.metrics import box_precision, calibration, confusion, dice, froc, ranking, surface
from foundationx.evaluation.metrics.average_precision import IOUS
from foundationx.evaluation.metrics.matching import match
from foundationx.evaluation.metrics.statistic import Statistic
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.thresholds import Threshold


def statistics(predictions: Predictions, thresholds: Mapping[str, Threshold] | None = None) -> list[Statistic]:
    """The metrics of the head's task, the classes of a metric together.

    Args:
        predictions: of one head and model.
        thresholds: by class, chosen on another side; without them there is no metric of called labels.
    """
    return _OF_TASK[predictions.key.task](predictions, thresholds or {})


def _of_labels(predictions: Predictions, thresholds: Mapping[str, Threshold]) -> list[Statistic]:
    called = confusion.statistics(predictions, thresholds)
    return ranking.statistics(predictions) + called + calibration.statistics(predictions)


def _of_boxes(predictions: Predictions, thresholds: Mapping[str, Threshold]) -> list[Statistic]:
    classes = predictions.classes
    matches = [match(predictions, k, IOUS) for k in range(len(classes))]
    precision = box_precision.statistics(classes, predictions.patients, matches)
    return precision + froc.statistics(classes, predictions.patients, matches)


def _of_masks(predictions: Predictions, thresholds: Mapping[str, Threshold]) -> list[Statistic]:
    return dice.statistics(predictions) + surface.statistics(predictions)


_OF_TASK = {
    Task.CLASSIFICATION: _of_labels,
    Task.DETECTION: _of_boxes,
    Task.SEGMENTATION: _of_masks,
}
