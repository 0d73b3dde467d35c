"""What a model predicted for every image beside the truth: enough to compute any metric without the model.

One ``.npz`` per head, model and split: ``predictions/{dataset}/{task}.{split}.{model}.npz``, arrays only, nothing
pickled. ``docs/evaluation.md`` lists its arrays.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from foundationx.core.archives import read_npz
from foundationx.core.arrays import AnyArray, Masks, PartsView, Ragged, Recorded, check_array, parts_of
from foundationx.core.atomic_write import write_arrays
from foundationx.core.errors import DataError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.tasks.definition import task_of

FORMAT = 2
"""Version of the file's layout."""

BROKEN = (zipfile.BadZipFile, zlib.error)
"""Errors of a damaged archive."""

PLAIN = ("model", "split", "visit", "classes", "images", "patients", "labels")
"""Fields that are stored under their own name."""

PREFIX = "recorded."
"""Stands before the names of the arrays that the task records."""

Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One head of one model on one split.

    Attributes:
        key: Dataset and task.
        model: Name of the model: student or teacher.
        split: Split that the images belong to.
        visit: Visits trained so far.
        classes: K names.
        images: (N,) paths relative to the dataset's root.
        patients: (N,) patient names.
        labels: (N, K) float32 tri-state truth.
        recorded: What the task records, by name; ``foundationx/tasks/*/record.py`` lists it.
        thresholds: Scores from which on an image counts as positive, by class. They are chosen on the validation split
            of the same head and model; empty if there is none. Not stored in the file.
    """

    key: TaskKey
    model: str
    split: Split
    visit: int
    classes: tuple[str, ...]
    images: AnyArray
    patients: AnyArray
    labels: AnyArray
    recorded: Mapping[str, Recorded]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    _derived: dict[Callable[[Any], Any], Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def array(self, name: str) -> AnyArray:
        """A recorded array with one entry per image, (N, ...)."""
        value = self.recorded[name]
        assert isinstance(value, np.ndarray), f"{name} is no plain array"
        return value

    def ragged(self, name: str) -> Ragged:
        """Recorded values of a varying number per image."""
        value = self.recorded[name]
        assert isinstance(value, Ragged), f"{name} is not ragged"
        return value

    def masks(self, name: str) -> Masks:
        """Recorded masks."""
        value = self.recorded[name]
        assert isinstance(value, Masks), f"{name} are no masks"
        return value

    @cached_property
    def _patients(self) -> tuple[AnyArray, int]:
        unique, index = np.unique(self.patients, return_inverse=True)
        return index, len(unique)

    @property
    def units(self) -> AnyArray:
        """(N,) index of each image's patient; patients are numbered in alphabetical order."""
        return self._patients[0]

    @property
    def patient_count(self) -> int:
        """U, the number of patients."""
        return self._patients[1]

    def derive(self, function: Callable[[Predictions], Derived]) -> Derived:
        """``function(self)``, computed once: what several metrics rest on."""
        if function not in self._derived:
            self._derived[function] = function(self)
        return self._derived[function]

    def take(self, chosen: AnyArray) -> Predictions:
        """Some of the images, by index or by a (N,) bool mask, in that order."""
        recorded = {
            name: value[chosen] if isinstance(value, np.ndarray) else value.take(chosen)
            for name, value in self.recorded.items()
        }
        parts = {name: getattr(self, name)[chosen] for name in ("images", "patients", "labels")}
        return replace(self, **parts, recorded=recorded)

    def write(self, folder: Path) -> Path:
        """Writes it into a work directory, array by array, and returns the file's path.

        Raises:
            DiskError: The disk does not take the file; an older one stays.
        """
        arrays = {"format": np.array(FORMAT), "dataset": np.array(self.key.dataset), "task": np.array(self.key.task)}
        arrays |= {name: np.asarray(getattr(self, name)) for name in PLAIN}
        for name, value in self.recorded.items():
            arrays |= parts_of(PREFIX + name, value)
        path = predictions_path(folder, self.key, self.split, self.model)
        write_arrays(path, arrays)
        return path


def predictions_path(folder: Path, key: TaskKey, split: Split, model: str) -> Path:
    """File of the predictions of one head of one model on one split in a work directory."""
    return folder / "predictions" / key.dataset / f"{key.task.value}.{split.value}.{model}.npz"


def read_predictions(path: Path) -> Predictions:
    """Reads what ``Predictions.write`` wrote.

    Raises:
        DataError: The file is torn, holds something else, or was written by another version.
    """
    fix = "evaluate again: foundationx eval CHECKPOINT --out FOLDER"
    try:
        arrays = read_npz(path)
        if arrays["format"] != FORMAT:
            raise DataError(str(path), f"has format {arrays['format']}", f"format {FORMAT}", fix)
        predictions = _unpack(arrays)
        _check(predictions)
        return predictions
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, *BROKEN) as error:
        raise DataError(str(path), f"holds no predictions ({error})", "a file of `predictions/`", fix) from error


def _check(predictions: Predictions) -> None:
    """Raises ValueError: arrays of a file are not of the types, shapes and ranges that metrics rely on."""
    images, classes = len(predictions.images), len(predictions.classes)
    for names in (predictions.images, predictions.patients):
        if names.dtype.kind != "U" or names.shape != (images,):
            raise ValueError("images or patients have no names")
    known = predictions.labels[~np.isnan(predictions.labels)]
    check_array(known, (None,), 0, 1)
    if predictions.labels.shape != (images, classes) or predictions.visit < 0 or not images:
        raise ValueError(f"labels have the shape {predictions.labels.shape}")
    task_of(predictions.key.task).check_recorded(predictions.recorded, images, classes)


def _unpack(arrays: dict[str, AnyArray]) -> Predictions:
    recorded = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    return Predictions(
        key=TaskKey(str(arrays["dataset"]), Task(str(arrays["task"]))),
        model=str(arrays["model"]),
        split=Split(str(arrays["split"])),
        visit=int(arrays["visit"]),
        classes=tuple(str(name) for name in arrays["classes"]),
        images=arrays["images"],
        patients=arrays["patients"],
        labels=arrays["labels"],
        recorded=PartsView(recorded),
    )


def find_predictions(folder: Path) -> list[Path]:
    """Files of all predictions of a work directory, by name."""
    return sorted((folder / "predictions").glob("*/*.*.*.npz"))
