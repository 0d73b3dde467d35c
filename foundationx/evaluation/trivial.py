"""Trivial rows: what the headline metric is if nobody looks at the images. A head below them has learned nothing.

Labels get the prior of every class, boxes the mean training box, points the mean training place, masks the mean
training mask and, as ``empty``, no mask at all. All of it is learned from annotations of the training split alone, kept
by class name in ``trivial.json``, and scored on the same images by the same metrics as the heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.arrays import spaced
from foundationx.core.types import BadSample, Batch, MetricRow, Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.measure import METRICS, lower_is_better, rows_of
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import MEAN, Statistic
from foundationx.tasks.definition import task_of

if TYPE_CHECKING:  # a report must not load torch
    from foundationx.data.datamodule import DataModule

FILE = "trivial.json"
"""File of a work directory: head -> class -> what is known of it."""

TRIVIAL, EMPTY = "trivial", "empty"
"""Names of the two, where models are named."""

DIGITS = 3
"""Decimals of a metric in tables; values that look equal count as equal."""

PERFECT, PERFECT_LOW = 1.0, 0.0
"""Value of a headline metric that cannot be beaten, and of one of which lower values are better."""

NOT_ABOVE, NOT_BELOW = "<= trivial", ">= trivial"
"""Beside a value that is no better than a trivial one, if colours are not seen."""

IMAGES = 200
"""Training images of a head that are read at most, evenly spaced: boxes and masks are means over them."""

Trivial = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Head -> class -> what is known of it without an image."""


@dataclass(frozen=True)
class PassedOver:
    """Training images that a head's trivial answer should rest on and that could not be read.

    Attributes:
        key: The head.
        wanted: Images that were to be looked at.
        bad: What could not be read; the next image of the dataset takes its place.
    """

    key: TaskKey
    wanted: int
    bad: tuple[BadSample, ...]

    def __str__(self) -> str:
        first = self.bad[0]
        return (
            f"{len(self.bad):,} training images could not be read for the trivial answer, which was to rest on "
            f"{self.wanted:,}; the first: {first.file}: {first.reason}"
        )


def no_note(passed: PassedOver) -> None:
    """Says nothing."""


def learn_trivial(
    data_module: DataModule,
    keys: Iterable[TaskKey] | None = None,
    note: Callable[[PassedOver], None] = no_note,
) -> dict[str, dict[str, Any]]:
    """What the training annotations of each head say of an image that nobody has seen.

    Args:
        data_module: Datasets of the run.
        keys: Heads to learn; all annotated ones by default. Those without training images are left out.
        note: Called for each head with images that could not be read. Its classes then also hold ``images``, the number
            that was to be looked at, and ``unreadable``.
    """
    learned = {}
    for key in data_module.annotations if keys is None else keys:
        chosen = data_module.indices[key][Split.TRAIN]
        if key.task.facts.needs_annotations and len(chosen):
            table = data_module.annotations[key]
            labels = np.asarray(table.labels)[chosen]
            some = spaced(chosen, IMAGES)
            bad: dict[str, BadSample] = {}
            batches = _batches(data_module, key, some, bad)
            by_class = task_of(key.task).learn_trivial(labels, batches, table.classes)
            if bad:
                note(PassedOver(key, len(some), tuple(bad.values())))
                counts = {"images": len(some), "unreadable": len(bad)}
                by_class = {name: {**of_class, **counts} for name, of_class in by_class.items()}
            if by_class:
                learned[str(key)] = by_class
    return learned


def _batches(data_module: DataModule, key: TaskKey, some: np.ndarray, bad: dict[str, BadSample]) -> Iterator[Batch]:
    """Some training images with their targets, as evaluation sees them; ``bad`` gets those that cannot be read."""
    from foundationx.data.loader import AGAIN, in_order, make_loader, read_all

    batches = in_order(key, some, data_module.config.runtime.eval_batch_size)
    loader = make_loader(
        data_module.evaluation(Split.TRAIN), batches, data_module.config.runtime.workers, pin_memory=False
    )
    for batch in read_all(loader, "evaluation", AGAIN):
        found = batch.bad if isinstance(batch, Batch) else batch
        bad.update({one.file: one for one in found})
        if isinstance(batch, Batch):
            yield batch


def run_trivial(
    folder: Path, data_module: DataModule, note: Callable[[PassedOver], None] = no_note
) -> dict[str, dict[str, Any]]:
    """What a work directory holds of :func:`learn_trivial`; what is missing is learned and added."""
    stored: dict[str, dict[str, Any]] = read_trivial(folder)
    missing = [key for key in data_module.annotations if str(key) not in stored]
    learned = learn_trivial(data_module, missing, note)
    keep_trivial(folder, learned)
    return stored | learned


def keep_trivial(folder: Path, trivial: Trivial) -> None:
    """Adds to what a folder holds. Raises DiskError."""
    if trivial:
        WorkDir(folder).write_json(FILE, read_trivial(folder) | dict(trivial))


def read_trivial(folder: Path) -> dict[str, dict[str, Any]]:
    """What a work directory holds; empty if there is none."""
    stored: dict[str, dict[str, Any]] = WorkDir(folder).read_json(FILE, {})
    return stored


def trivial_predictions(trivial: Trivial, predictions: Predictions) -> list[Predictions]:
    """What is predicted without looking, for the images of a model's predictions.

    Args:
        trivial: Of all heads.
        predictions: Of any model of the head; its truth is that of the result.
    """
    learned = trivial.get(str(predictions.key), {})
    task = task_of(predictions.key.task)
    answers = task.trivial_answers(learned, predictions.classes, len(predictions), predictions.recorded)
    return [
        replace(predictions, model=name, recorded={**predictions.recorded, **recorded}, thresholds={})
        for name, recorded in answers.items()
    ]


def trivial_rows(trivial: Trivial, predictions: Predictions) -> list[MetricRow]:
    """Rows of the head's headline metric, and of those computed with it."""
    return [
        row
        for answered in trivial_predictions(trivial, predictions)
        for row in rows_of(answered, headline_statistics(answered))
    ]


def trivial_estimates(trivial: Trivial, predictions: Predictions) -> dict[tuple[str, str], float]:
    """The best trivial value by metric and class: of those that improve upwards, and of the task's headline."""
    best: dict[tuple[str, str], float] = {}
    downwards, headline = lower_is_better(), predictions.key.task.facts.headline
    for row in trivial_rows(trivial, predictions):
        if row.value is not None and (row.metric not in downwards or row.metric == headline):
            name = (row.metric, row.class_name)
            better = min if row.metric in downwards else max
            best[name] = better(row.value, best.get(name, row.value))
    return best


def headline_statistics(predictions: Predictions) -> list[Statistic]:
    """Statistics of the file of ``metrics/`` that holds the headline metric; none if no file does."""
    headline = predictions.key.task.facts.headline
    for module in METRICS.all().values():
        if all(name in predictions.recorded for name in module.NEEDS):
            found: list[Statistic] = module.statistics(predictions)
            if any(statistic.metric == headline for statistic in found):
                return found
    return []


def is_low(value: float, trivial: Iterable[float | None], metric: str = "") -> bool:
    """Whether a value is no better than a trivial one, as both are written in tables, and could be better.

    Args:
        value: The value.
        trivial: Values of the same metric without looking at an image; None if one is not defined.
        metric: Name of the metric, which says whether lower values are better.
    """
    shown, others = round(value, DIGITS), [round(other, DIGITS) for other in trivial if other is not None]
    if metric in lower_is_better():
        return shown > PERFECT_LOW and any(shown >= other for other in others)
    return shown < PERFECT and any(shown <= other for other in others)


def mark(text: str, metric: str = "") -> str:
    """A value's text with the words that tell that it is no better than a trivial one."""
    return f"{text} {NOT_BELOW if metric in lower_is_better() else NOT_ABOVE}"


def best_trivial(rows: Iterable[MetricRow], key: TaskKey, split: str) -> float | None:
    """The better of a head's trivial values of its headline metric, mean over classes; else the task's chance.

    Args:
        rows: Rows of any heads and models.
        key: The head.
        split: Split of the values.
    """
    values = trivial_values(rows, key, split).values()
    better = min if key.task.facts.headline in lower_is_better() else max
    return better(values, default=key.task.facts.chance)


def trivial_values(rows: Iterable[MetricRow], key: TaskKey, split: str) -> dict[str, float]:
    """The newest defined value of a head's headline metric by name: ``trivial``, ``empty``."""
    wanted = (key.dataset, key.task.value, key.task.facts.headline, MEAN, split)
    return {
        row.model: row.value
        for row in sorted(rows, key=lambda row: row.visit)
        if (row.dataset, row.task, row.metric, row.class_name, row.split) == wanted
        and row.model in (TRIVIAL, EMPTY)
        and row.value is not None
    }
