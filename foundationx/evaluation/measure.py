"""Every metric of one head from its predictions.

A metric is one file in ``metrics/``, found by scanning the folder, or a module of another package that joins through
the entry points ``foundationx.metrics``. It defines:

- ``NEEDS``: Names of the recorded arrays that the metric is computed from. It is computed of every task that records
  them (``foundationx/tasks/*/record.py`` lists what each task records).
- ``statistics(predictions)``: Its Statistics, one per metric and class.
- ``LOWER_IS_BETTER`` (optional): Names of its metrics that improve downwards.
- ``DETAILS`` (optional): Names of its metrics that short tables leave out.
- ``MEANINGS`` (optional): What each of its metrics is, in a few words, for the report.
- ``UNITS`` (optional): Units of its metrics that are no numbers from 0 to 1.
- ``curves(predictions)`` (optional): Points of a curve by class, for ``curves.json`` and the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from foundationx.core.extensions import Extensions, module_with
from foundationx.core.types import MetricRow, Task
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import MEAN, Statistic

METRICS: Extensions[ModuleType] = Extensions(
    "metric", "foundationx.evaluation.metrics", module_with("NEEDS", "statistics")
)
"""Every metric: the files of ``metrics/`` and the entry points of ``foundationx.metrics``."""


def fitting(predictions: Predictions) -> list[ModuleType]:
    """The metrics whose arrays the predictions hold, by the names of their files."""
    return [module for module in METRICS.all().values() if all(name in predictions.recorded for name in module.NEEDS)]


def statistics(predictions: Predictions) -> list[Statistic]:
    """All metrics of one head and model, the classes of a metric together."""
    return [statistic for module in fitting(predictions) for statistic in module.statistics(predictions)]


def curves(predictions: Predictions) -> dict[str, Any]:
    """Curves by class, of the first metric that has some."""
    for module in fitting(predictions):
        if hasattr(module, "curves") and (points := module.curves(predictions)):
            return points
    return {}


def metric_rows(predictions: Predictions) -> list[MetricRow]:
    """Values of all metrics of one head and model, by class and their mean."""
    return rows_of(predictions, statistics(predictions))


def rows_of(predictions: Predictions, computed: Sequence[Statistic]) -> list[MetricRow]:
    """Values of some metrics of one head and model, by class and their mean."""
    key = predictions.key
    model, visit, split = predictions.model, predictions.visit, predictions.split.value
    return [
        MetricRow(key.dataset, key.task.value, e.metric, e.class_name, e.value, e.n, model, visit, split)
        for e in estimate(computed, predictions.patient_count, repeats=0)
    ]


def lower_is_better() -> frozenset[str]:
    """Names of the metrics that improve downwards."""
    return _declared("LOWER_IS_BETTER")


def details() -> frozenset[str]:
    """Names of the metrics that short tables leave out."""
    return _declared("DETAILS")


def meanings() -> dict[str, str]:
    """What metrics are, in a few words, by name."""
    return _words("MEANINGS")


def units() -> dict[str, str]:
    """Units by name of the metrics that are no numbers from 0 to 1."""
    return _words("UNITS")


def _words(attribute: str) -> dict[str, str]:
    return {name: text for module in METRICS.all().values() for name, text in getattr(module, attribute, {}).items()}


def _declared(attribute: str) -> frozenset[str]:
    return frozenset(name for module in METRICS.all().values() for name in getattr(module, attribute, ()))


def is_headline(row: MetricRow) -> bool:
    """Whether a row is the mean over classes of its task's headline metric."""
    return row.class_name == MEAN and row.metric == Task(row.task).facts.headline
