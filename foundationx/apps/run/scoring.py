"""Predictions that were made elsewhere, as a table, against the truth of a card: stored as those of a run are."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from foundationx.core.arrays import PartsView
from foundationx.core.atomic_write import as_written
from foundationx.core.config.load import parse_config
from foundationx.core.errors import ConfigError, DataError, nearest
from foundationx.core.types import Annotations, Batch, Split, TaskKey
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.loader import collate
from foundationx.data.patient_splits import SplitRecord, read_record
from foundationx.data.pixels.read import read_mask
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.recorder import GrowingArrays, SpillFolder
from foundationx.tasks.definition import TaskDefinition, task_of
from foundationx.tasks.table import TableRow

IMAGE, CLASS = "image", "class"
"""Columns of every table."""

SHOWN = 3
"""Names in a message."""


@dataclass(frozen=True)
class Scored:
    """A scored table.

    Attributes:
        predictions: Predictions beside the truth.
        passed_over: Images of the table that belong to other splits.
    """

    predictions: Predictions
    passed_over: int


def score_table(
    table: Path,
    key: TaskKey,
    data_root: Path,
    *,
    split: Split,
    everyone: bool = False,
    run: Path | None = None,
    image_size: int = 224,
    root: str | None = None,
    missing_is_empty: bool = False,
    model: str = "teacher",
) -> Scored:
    """Reads a table and puts its predictions beside the truth.

    Args:
        table: CSV file.
        key: Card and task.
        data_root: Folder that holds the datasets.
        split: Split to score.
        everyone: Score every image as one test set.
        run: Run whose split of patients is used; by default the card's own, or by hash.
        image_size: Side in pixels at which masks are compared; that of the run to be comparable with it.
        root: The dataset's folder below ``data_root``; by default the card's own.
        missing_is_empty: Whether an image without a row has no finding, if the task allows images without any.
        model: Name that the predictions are stored under.

    Raises:
        ConfigError: The task takes no tables, or the split has no image.
        DataError: An image or class is unknown or missing, a row appears twice, or a value makes no sense.
    """
    data = _open(key, data_root, run, image_size, root)
    if everyone:
        data, split = data.as_test(), Split.TEST
    truth, task = data.annotations[key], task_of(key.task)
    indices = data.indices[key][split]
    if not len(indices):
        raise ConfigError("--split", f"{key} has no image in {split.value}", "images to score", "--split all")
    if not task.columns:
        raise ConfigError("--task", f"{key.task.value} takes no tables", "a task with columns", "score another task")
    rows = _Rows(table, truth, task)
    images = [truth.images[index] for index in indices]
    rows.check_complete(images, missing_is_empty)
    recorded = _record(data, key, split, rows)
    predictions = _predictions(truth, indices, split, model, recorded)
    _check(predictions, table)
    return Scored(predictions, len(rows.of_image.keys() - set(images)))


def _predictions(truth: Annotations, indices: np.ndarray, split: Split, model: str, recorded: PartsView) -> Predictions:
    """Predictions of the images of ``indices`` beside their labels."""
    return Predictions(
        key=truth.key,
        model=model,
        split=split,
        visit=0,
        classes=truth.classes,
        images=np.array([truth.images[index] for index in indices]),
        patients=np.array([truth.patients[index] for index in indices]),
        labels=np.asarray(truth.labels[indices], dtype=np.float32),
        recorded=recorded,
    )


def _check(predictions: Predictions, table: Path) -> None:
    """Raises DataError: metrics cannot use what the table holds."""
    try:
        task_of(predictions.key.task).check_recorded(predictions.recorded, len(predictions), len(predictions.classes))
    except ValueError as error:
        raise DataError(str(table), str(error), "predictions that metrics can use", "correct the table") from error


def _open(key: TaskKey, data_root: Path, run: Path | None, image_size: int, root: str | None) -> DataModule:
    """One task of one card with the splits of a run."""
    content = {
        "name": key.dataset,
        "image_size": image_size,
        "model": {"backbone": {"type": "none"}},  # no network is built
        "datasets": [{"card": key.dataset, "root": root, "tasks": [key.task.value]}],
        "schedule": {"cycles": 1},
    }
    record = read_record(run) if run is not None else SplitRecord()
    if run is not None and not record.splits:
        raise ConfigError("--run", f"{run} has no splits.json", "the work directory of a run", "name a run")
    if record.splits:
        content["split"] = {"changes": "keep"}
    return open_datasets(parse_config(content, "score"), data_root, Catalog(), record)


def _record(data: DataModule, key: TaskKey, split: Split, rows: _Rows) -> PartsView:
    """Truth and predictions of every image; images are read only if the truth is more than labels."""
    folder, task, truth = SpillFolder(), task_of(key.task), data.annotations[key]
    arrays = {name: GrowingArrays(folder, f"{key.dataset}.{name}") for name in ("truth", "table")}
    images = data.evaluation(split).datasets[key]
    for index in data.indices[key][split]:
        if key.task.facts.has_targets:
            batch = collate([(images.sample(int(index), seed=int(index)), [])])
            assert isinstance(batch, Batch)
            arrays["truth"].append(task.record_truth(batch))
        own = rows.of_image.get(truth.images[index], [])
        arrays["table"].append(task.record_rows(own, data.config.image_size, read_mask))
    return PartsView(arrays["truth"], arrays["table"])


class _Rows:
    """The rows of a table by image, checked against a card.

    Args:
        path: CSV file: one row for each image and class with the columns of the task, or, if that is one column alone,
            one row per image with a column for each class.
        truth: Annotations of the card.
        task: The task.

    Attributes:
        of_image: Rows by the image's path in the dataset, in the order of the classes if the task wants every class.
    """

    def __init__(self, path: Path, truth: Annotations, task: TaskDefinition):
        self.path, self.task, self.classes = path, task, truth.classes
        self._names = _names_of(truth.images)
        self.of_image: dict[str, list[TableRow]] = {}
        for where, cells in self._read():
            self._add(where, cells)
        if task.every_class:
            for rows in self.of_image.values():
                rows.sort(key=lambda row: row.class_index)

    def _read(self) -> list[tuple[str, dict[str, str]]]:
        """Rows with a class each, as dictionaries, and where they stand."""
        try:
            with open(self.path, encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream)
                header = list(reader.fieldnames or ())
                lines = [(f"{self.path} line {reader.line_num}", row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            found = f"cannot be read ({error})"
            raise DataError(str(self.path), found, "a table as CSV in UTF-8", "check the file") from error
        for where, row in lines:
            if None in row or None in row.values():
                found = "has another number of cells than the header"
                raise DataError(where, found, f"{len(header)} cells", "correct the table")
        wide = self.task.every_class and len(self.task.columns) == 1 and CLASS not in header
        needed = [IMAGE, *(self.classes if wide else (CLASS, *self.task.columns))]
        _check_header(self.path, header, needed)
        plain = [(where, {name: as_written(cell or "") for name, cell in row.items()}) for where, row in lines]
        if not wide:
            return plain
        (column,) = self.task.columns
        return [
            (where, {IMAGE: row[IMAGE], CLASS: name, column: row[name]})
            for where, row in plain
            for name in self.classes
        ]

    def _add(self, where: str, cells: dict[str, str]) -> None:
        image = self._image(where, cells[IMAGE].strip())
        rows = self.of_image.setdefault(image, [])
        name = cells[CLASS].strip()
        if not name and not self.task.every_class:
            return  # an image in which nothing was found
        if name not in self.classes:
            raise DataError(where, f"the class is {name!r}", nearest(name, self.classes), "use the names of the card")
        index = self.classes.index(name)
        if self.task.every_class and any(row.class_index == index for row in rows):
            found = f"{name} of {cells[IMAGE]} stands in the table twice"
            raise DataError(where, found, "one row for each image and class", "correct the table")
        rows.append(TableRow(where, index, cells, self.path.parent))

    def _image(self, where: str, name: str) -> str:
        """The path in the dataset of an image that is named by it, by its end, or so without its suffix."""
        found = self._names.get(PurePosixPath(name).as_posix(), ())
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(found[:SHOWN])
            raise DataError(where, f"{name!r} may be any of {len(found)} images ({some})", "one image", "give the path")
        expected = f"an image of the card, {nearest(name, self._names)}" if name else "an image"
        raise DataError(where, f"the image is {name!r}, which the card does not have", expected, "check card and names")

    def check_complete(self, images: Sequence[str], missing_is_empty: bool) -> None:
        """Raises DataError: an image or class of the split has no row."""
        absent = [image for image in images if image not in self.of_image]
        if absent and not (missing_is_empty and not self.task.every_class):
            some = ", ".join(absent[:SHOWN]) + (", ..." if len(absent) > SHOWN else "")
            fix = "add them, with an empty class where nothing was found; or --missing-is-empty"
            fix = "add them" if self.task.every_class else fix
            found = f"{len(absent)} of {len(images)} images of the split have no row: {some}"
            raise DataError(str(self.path), found, "a row for every image", fix)
        if not self.task.every_class:
            return
        for image in images:
            present = {row.class_index for row in self.of_image[image]}
            if len(present) < len(self.classes):
                lacking = [name for index, name in enumerate(self.classes) if index not in present]
                found = f"{image} has no row for {', '.join(lacking[:SHOWN])}"
                raise DataError(str(self.path), found, f"all {len(self.classes)} classes of the card", "add them")


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    """Raises DataError: a column is missing or stands there twice."""
    missing = [name for name in needed if name not in header]
    if missing:
        known = [name for name in header if name not in needed]
        found = f"has no column {', '.join(map(repr, missing[:SHOWN]))} ({', '.join(header)})"
        hint = nearest(missing[0], known) if known else f"the columns {', '.join(needed)}"
        raise DataError(str(path), found, f"the columns {', '.join(needed[:8])}; {hint}", "name the columns so")
    double = sorted({name for name in header if header.count(name) > 1})
    if double:
        raise DataError(str(path), f"has two columns {double[0]!r}", "each column once", "rename one")


def _names_of(images: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Every way to name an image -> the images that it may be: path, its ends, each with or without suffix."""
    exact = {PurePosixPath(image).as_posix(): (image,) for image in images}
    others: dict[str, dict[str, None]] = {}
    for image in images:
        parts = PurePosixPath(image).parts
        for start in range(len(parts)):
            end = PurePosixPath(*parts[start:])
            for name in {end.as_posix(), end.with_suffix("").as_posix()}:
                others.setdefault(name, {})[image] = None
    return {name: tuple(found) for name, found in others.items()} | exact
