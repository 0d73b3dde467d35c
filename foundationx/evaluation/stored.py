"""Predictions in a work directory: written with all metrics, and read back with the thresholds of validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from foundationx.core.types import Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.evaluator import Evaluation
from foundationx.evaluation.predictions import Predictions, predictions_path, read_predictions
from foundationx.evaluation.thresholds import DEFAULT_RULE, Threshold, Thresholds, choose_thresholds, with_thresholds


def store(folder: Path, evaluation: Evaluation) -> None:
    """Writes the predictions of an evaluation, its thresholds (``thresholds.json``) and rows (``metrics.json``).

    Rows of other splits, models and visits stay.

    Args:
        folder: Work directory.
        evaluation: What ``evaluate`` or ``measure`` returned.

    Raises:
        DiskError: The disk does not take a file.
    """
    for predictions in evaluation.predictions:
        predictions.write(folder)
    as_json: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for (key, model), thresholds in evaluation.thresholds.items():
        if thresholds:
            by_class = {name: asdict(threshold) for name, threshold in thresholds.items()}
            as_json.setdefault(str(key), {})[model] = by_class
    work = WorkDir(folder)
    if as_json:
        work.write_json("thresholds.json", as_json)
    work.add_metrics(evaluation.rows)


def stored_thresholds(folder: Path, heads: Sequence[TaskKey], models: Sequence[str], visit: int) -> Thresholds:
    """Thresholds from the validation predictions of a work directory, as far as there are any of this visit.

    Raises:
        DataError: A file of predictions cannot be read.
    """
    chosen = {(key, model): _thresholds(folder, key, model, visit, DEFAULT_RULE) for key in heads for model in models}
    return {name: thresholds for name, thresholds in chosen.items() if thresholds}


def written_thresholds(folder: Path, model: str, visit: int) -> dict[TaskKey, dict[str, float]]:
    """Thresholds by head and class from ``thresholds.json``, as far as there are any of this model and visit.

    Args:
        folder: Work directory, or a folder that ``foundationx eval --out`` wrote.
        model: Student or teacher.
        visit: Visits that the model has been trained for.
    """
    chosen: dict[TaskKey, dict[str, float]] = {}
    for head, models in WorkDir(folder).read_json("thresholds.json", {}).items():
        values = {
            name: float(entry["value"])
            for name, entry in models.get(model, {}).items()
            if entry.get("visit") == visit and isinstance(entry.get("value"), int | float)
        }
        if values:
            chosen[TaskKey.parse(head)] = values
    return chosen


def read_with_thresholds(path: Path, folder: Path, rule: str = DEFAULT_RULE) -> Predictions:
    """Reads predictions, with thresholds from the validation predictions of the same head, model and visit.

    Validation itself gets none: a metric at a threshold that was chosen on the same images would be too good.

    Args:
        path: File of predictions.
        folder: Work directory that holds the validation predictions.
        rule: What thresholds maximise on validation.

    Raises:
        DataError: A file of predictions cannot be read, or there is no such rule.
    """
    stored = read_predictions(path)
    if stored.split is Split.VAL:
        return stored
    return with_thresholds(stored, _thresholds(folder, stored.key, stored.model, stored.visit, rule))


def _thresholds(folder: Path, key: TaskKey, model: str, visit: int, rule: str) -> dict[str, Threshold]:
    path = predictions_path(folder, key, Split.VAL, model)
    if not path.exists():
        return {}
    stored = read_predictions(path)
    return choose_thresholds(stored, rule) if stored.visit == visit else {}
