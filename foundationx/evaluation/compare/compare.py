"""Runs side by side: every head's metrics with intervals, and whether a run differs from the first one.

Figures of different test sets compare nothing: runs must have been evaluated on the same images with the same truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.bootstrap import Estimate, estimate, interval, paired_p
from foundationx.evaluation.delong import delong
from foundationx.evaluation.measure import details, lower_is_better, statistics
from foundationx.evaluation.predictions import Predictions, find_predictions
from foundationx.evaluation.ranking import known_labels
from foundationx.evaluation.seeds import over_runs
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.stored import read_with_thresholds
from foundationx.evaluation.thresholds import DEFAULT_RULE
from foundationx.evaluation.trivial import is_low, read_trivial, trivial_estimates

SEVERAL = "several seeds"
"""Stands for the model if there is more than one."""

SHOWN = 3
"""Names of images in a message."""


@dataclass(frozen=True)
class Cell:
    """One metric of one run, and its difference from the first run (None in the first run's own cells).

    Attributes:
        n: Number of images or boxes that the value rests on.
        value, low, high: Value and interval; None if not defined.
        difference, difference_low, difference_high: This run's value minus the first run's, with its interval.
        p: Two-sided p of no difference; None if not defined.
        test: Test that p comes from: ``DeLong`` (AUROC of a class) or ``bootstrap`` (paired, by patient).
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
    """One metric of one head.

    Attributes:
        head: Dataset and task.
        metric, class_name: Names; ``mean`` for the mean over classes.
        cells: One entry per run, None if the run has no such head or metric.
        lower_is_better: Whether the metric improves downwards.
        is_detail: Whether short tables leave the metric out.
        trivial: Best value without looking at an image, by what the training annotations of the first run say that
            kept it (``trivial.json``); None if no run did, or of other metrics than the headline's.
    """

    head: TaskKey
    metric: str
    class_name: str
    cells: tuple[Cell | None, ...]
    lower_is_better: bool
    is_detail: bool
    trivial: float | None = None

    def is_low(self, cell: Cell | None) -> bool:
        """Whether a run's value is no better than the trivial one."""
        return cell is not None and cell.value is not None and is_low(cell.value, [self.trivial], self.metric)


@dataclass(frozen=True)
class Comparison:
    """Names of the runs, the first of which the others are compared with, rows of all heads, and runs behind a name."""

    runs: tuple[str, ...]
    split: str
    repeats: int
    rows: list[Row]
    seeds: tuple[int, ...] = ()


def compare(
    runs: Sequence[Path | Sequence[Path]],
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
        runs: Work directories, or folders written by ``foundationx eval --out``; several in place of one are runs that
            differ in their seed: their mean is compared, and intervals cover the spread between them.
        split: Split to compare on.
        model: Student or teacher, of all runs.
        repeats: Number of bootstrap draws; 0 for values alone.
        seed: Seed of the draws.
        rule: What thresholds maximise on validation.

    Raises:
        DataError: A run has no predictions of that split and model, or runs were evaluated on different test sets.
    """
    groups = [(run,) if isinstance(run, Path) else tuple(run) for run in runs]
    stored = [[(folder, _read(folder, split, model, rule)) for folder in group] for group in groups]
    rows, downwards, hidden = [], lower_is_better(), details()
    for key in dict.fromkeys(key for group in stored for _, heads in group for key in heads):
        heads = [_of_seeds(group, key) for group in stored]
        present = [entry for group in heads for entry in group]
        check_same_test(present)
        estimates = [_over_seeds(group, repeats, (seed, number)) for number, group in enumerate(heads)]
        trivial = _trivial(present)
        names = dict.fromkeys(name for of_run in estimates if of_run for name in of_run)
        for metric, class_name in names:
            cells = _cells((metric, class_name), [_single(group) for group in heads], estimates)
            best = trivial.get((metric, class_name))
            rows.append(Row(key, metric, class_name, cells, metric in downwards, metric in hidden, best))
    return Comparison(_names(groups), split.value, repeats, rows, tuple(len(group) for group in groups))


def _trivial(heads: Sequence[tuple[Path, Predictions]]) -> dict[tuple[str, str], float]:
    """Trivial values of a head by metric and class, from the first run that kept what they rest on."""
    for folder, predictions in heads:
        stored = read_trivial(folder)
        if str(predictions.key) in stored:
            return trivial_estimates(stored, predictions)
    return {}


Seeds = list[tuple[Path, Predictions]]
"""One head of runs that differ in their seed, with their folders."""


def _of_seeds(group: Sequence[tuple[Path, Mapping[TaskKey, Predictions]]], key: TaskKey) -> Seeds:
    """The head of each run of a group; none if no run has it. Raises DataError if some lack it."""
    found = [(folder, heads[key]) for folder, heads in group if key in heads]
    if found and len(found) < len(group):
        lacking = next(folder for folder, heads in group if key not in heads)
        fix = "name runs of one configuration, which differ in runtime.seed"
        raise DataError(str(lacking), f"has no head {key}", f"the heads of {found[0][0]}", fix)
    return found


def _single(group: Seeds) -> Predictions | None:
    """The head of a group of one run; of several the first, with the mark of several: its images have no one answer."""
    if not group:
        return None
    return group[0][1] if len(group) == 1 else replace(group[0][1], model=SEVERAL)


def _over_seeds(group: Seeds, repeats: int, seed: tuple[int, int]) -> dict[tuple[str, str], Estimate] | None:
    """Estimates by metric and class; None if no run has the head."""
    by_run = [_estimates(predictions, repeats, seed[0]) for _, predictions in group]
    if not by_run:
        return None
    return {name: over_runs([of_run[name] for of_run in by_run], seed) for name in by_run[0]}


def _names(groups: Sequence[Sequence[Path]]) -> tuple[str, ...]:
    """The folders' own names, or whole paths if two share one; of several runs the first, with their number."""
    short = [group[0].resolve().name for group in groups]
    names = short if len(set(short)) == len(short) else [str(group[0]) for group in groups]
    pairs = zip(names, groups, strict=True)
    return tuple(f"{name} ({len(group)} runs)" if len(group) > 1 else name for name, group in pairs)


def _read(folder: Path, split: Split, model: str, rule: str) -> dict[TaskKey, Predictions]:
    """Predictions of every head of a run, with thresholds of image labels."""
    paths = [path for path in find_predictions(folder) if path.name.endswith(f".{split.value}.{model}.npz")]
    if not folder.is_dir():
        fix = "check the path"
        raise DataError(str(folder), "there is no such folder", "a work directory, or a folder of eval --out", fix)
    if not paths:
        fix = f"foundationx eval {folder} --split {split.value} --out {folder}"
        if not (folder / "checkpoints").exists():
            fix = "name the work directory of a run, or a folder that `foundationx eval --out` wrote"
        raise DataError(str(folder), f"holds no predictions of the {model} on {split.value}", "predictions/", fix)
    stored = [read_with_thresholds(path, folder, rule) for path in paths]
    return {predictions.key: predictions for predictions in stored}


def _estimates(predictions: Predictions, repeats: int, seed: int) -> dict[tuple[str, str], Estimate]:
    """Estimates by metric and class."""
    entries = estimate(statistics(predictions), predictions.patient_count, repeats, seed)
    return {(entry.metric, entry.class_name): entry for entry in entries}


def _cells(
    name: tuple[str, str],
    heads: Sequence[Predictions | None],
    estimates: Sequence[dict[tuple[str, str], Estimate] | None],
) -> tuple[Cell | None, ...]:
    """Cells of one metric, one per run."""
    entries = [None if of_run is None else of_run.get(name) for of_run in estimates]
    first, head = entries[0], heads[0]
    cells: list[Cell | None] = []
    for run, (entry, other_head) in enumerate(zip(entries, heads, strict=True)):
        if entry is None or other_head is None:
            cells.append(None)
        elif run == 0 or first is None or head is None or first.value is None or entry.value is None:
            cells.append(Cell(entry.n, entry.value, entry.low, entry.high))
        else:
            difference = entry.value - first.value
            several = SEVERAL in (head.model, other_head.model)
            cells.append(_compared(first, entry, difference, None if several else partial(_delong_p, head, other_head)))
    return tuple(cells)


def _compared(
    first: Estimate, other: Estimate, difference: float, delong_p: Callable[[str], float | None] | None
) -> Cell:
    """A cell with its difference from the first run's; ``delong_p`` gives p of the AUROC of a class, if it applies."""
    low, high = interval(other.draws - first.draws) or (None, None)
    test, p = "bootstrap", paired_p(first.draws, other.draws)
    if first.metric == "AUROC" and first.class_name != MEAN and delong_p is not None:
        test, p = "DeLong", delong_p(first.class_name)
    return Cell(other.n, other.value, other.low, other.high, difference, low, high, p, None if p is None else test)


def _delong_p(one: Predictions, two: Predictions, class_name: str) -> float | None:
    """DeLong's p of one class; the images of both are put in one order, by name."""
    one, two = (stored.take(np.argsort(stored.images)) for stored in (one, two))
    known, truth, first = known_labels(one, one.classes.index(class_name))
    _, _, second = known_labels(two, two.classes.index(class_name))
    units = np.unique(one.units[known], return_inverse=True)[1]
    test = delong(truth, first, second, units)
    return None if test is None else test.p


def check_same_test(heads: Sequence[tuple[Path, Predictions]]) -> None:
    """Compares one head of several runs with that of the first.

    Raises:
        DataError: Classes, images, patients, labels or numbers of boxes differ.
    """
    (folder, first), *others = heads
    for other_folder, other in others:
        where = f"{other_folder} and {folder}, {first.key}"
        _check_classes(where, first, other)
        _check_images(where, first, other)
        order, other_order = np.argsort(first.images), np.argsort(other.images)
        pairs = {"patients": (first.patients[order], other.patients[other_order])}
        columns = [other.classes.index(name) for name in first.classes]
        pairs["labels"] = (first.labels[order], other.labels[other_order][:, columns])
        if "true_classes" in first.recorded:
            pairs["numbers of true boxes"] = (_box_counts(first)[order], _box_counts(other)[other_order][:, columns])
        for what, (one, two) in pairs.items():
            _check_equal(where, what, first.images[order], one, two)


def _check_classes(where: str, first: Predictions, other: Predictions) -> None:
    if set(first.classes) != set(other.classes):
        odd = ", ".join(sorted(set(first.classes) ^ set(other.classes)))
        found = f"have different classes: {odd} in one only"
        raise DataError(where, found, "the same classes", "train both with the same card")


def _check_images(where: str, first: Predictions, other: Predictions) -> None:
    odd = sorted(set(first.images) ^ set(other.images))
    if odd:
        counts = f"{len(other)} and {len(first)} images, {len(odd)} of them in one only"
        names = ", ".join(odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
        fix = "train with the same split (seed, shares, split.file; split.record takes it from a run), on the same data"
        raise DataError(where, f"have different test sets: {counts} ({names})", "the same images", fix)


def _check_equal(where: str, what: str, images: np.ndarray, one: np.ndarray, two: np.ndarray) -> None:
    """Compares two arrays, (N,) or (N, K), row by row; unknown equals unknown."""
    same = one == two
    if one.dtype.kind == "f":
        same |= np.isnan(one) & np.isnan(two)
    same = same.reshape(len(images), -1).all(axis=1)
    if not same.all():
        found = f"{what} of {(~same).sum()} images differ, {images[~same][0]} among them"
        raise DataError(where, found, "the same truth", "evaluate both with the same card and annotation files")


def _box_counts(predictions: Predictions) -> np.ndarray:
    """Number of true boxes by image and class, (N, K)."""
    counts = np.zeros((len(predictions), len(predictions.classes)), dtype=int)
    true = predictions.ragged("true_classes")
    np.add.at(counts, (true.images, true.values), 1)
    return counts
