"""Runs side by side: every head's metrics with intervals, and whether a run differs from the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.bootstrap import Estimate, estimate, interval, paired_p
from foundationx.evaluation.compare.comparable import check_same_test
from foundationx.evaluation.delong import delong
from foundationx.evaluation.measure import statistics
from foundationx.evaluation.predictions import Predictions, find_predictions
from foundationx.evaluation.ranking import known_labels
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.stored import read_with_thresholds
from foundationx.evaluation.thresholds import DEFAULT_RULE


@dataclass(frozen=True)
class Cell:
    """One metric of one run, and its difference from the first run (None in the first run's own cells).

    Attributes:
        n: what the value rests on.
        value, low, high: value and interval; None where not defined.
        difference, difference_low, difference_high: this run's value less the first run's, with its interval.
        p: two-sided, of no difference; None where not defined.
        test: what p comes from: ``DeLong`` (AUROC of a class) or ``bootstrap`` (paired, by patient).
    """

    n: int
    value: float | None
    low: float | None
    high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    test: str | None = None


@dataclass(frozen=True)
class Row:
    """One metric of one head. ``cells`` has one entry a run, None where the run has no such head or metric."""

    head: TaskKey
    metric: str
    class_name: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Names of the runs, the first one being what the others are compared with, and rows of all heads."""

    runs: tuple[str, ...]
    split: str
    repeats: int
    rows: list[Row]


def compare(
    runs: Sequence[Path],
    *,
    split: Split = Split.TEST,
    model: str = "teacher",
    repeats: int = 1000,
    seed: int = 0,
    rule: str = DEFAULT_RULE,
) -> Comparison:
    """Reads the predictions of each run and compares the later ones with the first.

    Every head of any run is shown. Heads that several runs have must have been evaluated on the same images.

    Args:
        runs: work directories, or folders written by ``foundationx eval --out``.
        split: the side.
        model: student or teacher, of all runs.
        repeats: bootstrap draws; 0 for values alone.
        seed: of the draws.
        rule: what thresholds maximise on validation.

    Raises:
        DataError: a run has no predictions of that side and model, or runs were evaluated on different test sets.
    """
    stored = [_read(folder, split, model, rule) for folder in runs]
    rows = []
    for key in dict.fromkeys(key for heads in stored for key in heads):
        heads = [found.get(key) for found in stored]
        present = [(folder, head) for folder, head in zip(runs, heads, strict=True) if head is not None]
        check_same_test(present)
        estimates = [None if head is None else _estimates(head, repeats, seed) for head in heads]
        names = dict.fromkeys(name for found in estimates if found for name in found)
        rows += [Row(key, *name, _cells(name, heads, estimates)) for name in names]
    return Comparison(_names(runs), split.value, repeats, rows)


def _names(runs: Sequence[Path]) -> tuple[str, ...]:
    """The folders' own names, or whole paths where two share one."""
    names = tuple(folder.resolve().name for folder in runs)
    return names if len(set(names)) == len(names) else tuple(str(folder) for folder in runs)


def _read(folder: Path, split: Split, model: str, rule: str) -> dict[TaskKey, Predictions]:
    """Predictions of every head of a run, with thresholds of image labels."""
    paths = [path for path in find_predictions(folder) if path.name.endswith(f".{split.value}.{model}.npz")]
    if not paths:
        fix = f"foundationx eval {folder} --split {split.value} --out {folder}"
        raise DataError(str(folder), f"holds no predictions of the {model} on {split.value}", "predictions/", fix)
    found = [read_with_thresholds(path, folder, rule) for path in paths]
    return {predictions.key: predictions for predictions in found}


def _estimates(predictions: Predictions, repeats: int, seed: int) -> dict[tuple[str, str], Estimate]:
    """Estimates by metric and class."""
    found = estimate(statistics(predictions), predictions.patient_count, repeats, seed)
    return {(entry.metric, entry.class_name): entry for entry in found}


def _cells(
    name: tuple[str, str],
    heads: Sequence[Predictions | None],
    estimates: Sequence[dict[tuple[str, str], Estimate] | None],
) -> tuple[Cell | None, ...]:
    """Cells of one metric, one a run."""
    found = [None if of_run is None else of_run.get(name) for of_run in estimates]
    first = found[0]
    cells = []
    for place, entry in enumerate(found):
        if entry is None:
            cells.append(None)
        elif place == 0 or first is None or None in (first.value, entry.value):
            cells.append(Cell(entry.n, entry.value, entry.low, entry.high))
        else:
            cells.append(_difference(first, entry, heads[0], heads[place]))
    return tuple(cells)


def _difference(first: Estimate, other: Estimate, head: Predictions, other_head: Predictions) -> Cell:
    """A cell with its difference from the first run's."""
    low, high = interval(other.draws - first.draws) or (None, None)
    test, p = "bootstrap", paired_p(first.draws, other.draws)
    if first.metric == "AUROC" and first.class_name != MEAN:
        test, p = "DeLong", _delong_p(head, other_head, first.class_name)
    value = (other.n, other.value, other.low, other.high)
    return Cell(*value, other.value - first.value, low, high, p, None if p is None else test)


def _delong_p(one: Predictions, two: Predictions, class_name: str) -> float | None:
    """DeLong's p of one class; the images of both are put in one order, by name."""
    one, two = (stored.take(np.argsort(stored.images)) for stored in (one, two))
    known, truth, first = known_labels(one, one.classes.index(class_name))
    _, _, second = known_labels(two, two.classes.index(class_name))
    units = np.unique(one.units[known], return_inverse=True)[1]
    found = delong(truth, first, second, units)
    return None if found is None else found.p
