"""All metrics that stored predictions give, thresholds chosen on validation among them; no model is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from foundationx.core.types import MetricRow, Split, Task
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.evaluator import Evaluation
from foundationx.evaluation.metrics.measure import statistics
from foundationx.evaluation.metrics.statistic import number_patients
from foundationx.evaluation.predictions import Predictions, read_predictions
from foundationx.evaluation.thresholds import Threshold, choose_thresholds

DEFAULT_RULE = "youden"
"""What thresholds maximise unless the user says otherwise."""


def measure(folder: Path, evaluation: Evaluation) -> list[MetricRow]:
    """Writes the predictions of an evaluation into a work directory, and what can be said from them.

    ``metrics.json`` gets the evaluation's rows and those that it lacks. Thresholds of image labels are chosen on the
    validation side, which must have been written before or at the same time, and kept in ``thresholds.json``.

    Args:
        folder: the work directory.
        evaluation: with predictions.

    Returns:
        The evaluation's rows, as they are, and those added.

    Raises:
        DataError: a file of predictions in the folder cannot be read.
        DiskError: the disk does not take a file.
    """
    for predictions in evaluation.predictions:
        predictions.write(folder)
    chosen: dict[str, dict[str, dict[str, Any]]] = {}
    rows = list(evaluation.rows)
    for predictions in evaluation.predictions:
        thresholds = validation_thresholds(predictions, folder, DEFAULT_RULE)
        if thresholds:
            as_json = {name: asdict(threshold) for name, threshold in thresholds.items()}
            chosen.setdefault(str(predictions.key), {})[predictions.model] = as_json
        rows += missing_rows(evaluation.rows, predictions, thresholds)
    work = WorkDir(folder)
    if chosen:
        work.write_json("thresholds.json", chosen)
    work.add_metrics(rows)
    return rows


def missing_rows(
    rows: Iterable[MetricRow], predictions: Predictions, thresholds: Mapping[str, Threshold]
) -> list[MetricRow]:
    """Metrics of the predictions that ``rows`` does not hold."""
    present = {replace(row, value=None, n=0) for row in rows}
    return [row for row in measure_head(predictions, thresholds) if replace(row, value=None, n=0) not in present]


def measure_head(predictions: Predictions, thresholds: Mapping[str, Threshold]) -> list[MetricRow]:
    """Values of all metrics of one head and model."""
    key = predictions.key
    _, patients = number_patients(predictions.patients)
    model, visit, split = predictions.model, predictions.visit, predictions.split.value
    return [
        MetricRow(key.dataset, key.task.value, e.metric, e.class_name, e.value, e.n, model, visit, split)
        for e in estimate(statistics(predictions, thresholds), patients, repeats=0)
    ]


def validation_thresholds(predictions: Predictions, folder: Path, rule: str) -> dict[str, Threshold]:
    """Thresholds by class from the validation side of the same head, model and visit; none where that is not there.

    Validation itself gets none: what was chosen on it would be counted on it.

    Raises:
        DataError: the file of predictions cannot be read, or there is no such rule.
    """
    if predictions.key.task is not Task.CLASSIFICATION or predictions.split is Split.VAL:
        return {}
    path = predictions.path(folder).with_name(f"{predictions.key.task.value}.{Split.VAL.value}.{predictions.model}.npz")
    if not path.exists():
        return {}
    stored = read_predictions(path)
    return choose_thresholds(stored, rule) if stored.visit == predictions.visit else {}
