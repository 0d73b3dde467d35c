"""Records what models predict for one head, batch by batch; what grows large goes to files."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundationx.core.arrays import AnyArray, PartsView, Recorded, parts_of
from foundationx.core.errors import DiskError
from foundationx.core.types import Batch, Prediction, Split, TaskKey
from foundationx.evaluation.predictions import Predictions
from foundationx.tasks.definition import task_of

BUFFER = 1 << 18
"""Bytes of one array that stay in memory; beyond them it is appended to its file."""


class SpillFolder:
    """A folder of arrays that lives as long as somebody reads them.

    Args:
        parent: Folder to make it in; the system's temporary folder if None.

    Raises:
        DiskError: The folder cannot be made.
    """

    def __init__(self, parent: Path | None = None):
        try:
            if parent is not None:
                parent.mkdir(parents=True, exist_ok=True)
            self.path = Path(tempfile.mkdtemp(prefix="predictions.", dir=parent))
        except OSError as error:
            raise _disk_error(parent or Path(tempfile.gettempdir()), error) from error
        weakref.finalize(self, _remove, self.path, parent)


def _remove(folder: Path, parent: Path | None) -> None:
    """Removes a folder of arrays, and the folder made for such folders if it is then empty."""
    shutil.rmtree(folder, ignore_errors=True)
    if parent is not None:
        with contextlib.suppress(OSError):  # others are in it, or it is gone
            parent.rmdir()


class GrowingArray:
    """An array that grows along its first axis: in memory first, then in a file.

    Args:
        folder: Folder of its file.
        name: Name of its file.
    """

    def __init__(self, folder: SpillFolder, name: str):
        self.folder, self.file = folder, folder.path / name
        self._waiting = bytearray()
        self._shape: tuple[int, ...] = (0,)
        self._dtype = np.dtype(float)

    def append(self, values: AnyArray) -> None:
        """Adds values (n, ...), which have one type and one shape beyond the first axis.

        Raises:
            DiskError: The disk does not take them.
        """
        self._shape, self._dtype = (self._shape[0] + len(values), *values.shape[1:]), values.dtype
        self._waiting += values.tobytes()
        if len(self._waiting) > BUFFER:
            self._flush()

    def _flush(self) -> None:
        try:
            with open(self.file, "ab") as stream:
                stream.write(self._waiting)
        except OSError as error:
            raise _disk_error(self.file, error) from error
        self._waiting = bytearray()

    def read(self) -> AnyArray:
        """All values, (N, ...); from the file without loading it, if there is one."""
        if not self.file.exists():
            return np.frombuffer(bytes(self._waiting), self._dtype).reshape(self._shape)
        if self._waiting:
            self._flush()
        return np.memmap(self.file, dtype=self._dtype, mode="r", shape=self._shape)


class GrowingArrays(Mapping[str, AnyArray]):
    """Growing arrays by name.

    Args:
        folder: Folder of their files.
        prefix: Stands before the files' names.
    """

    def __init__(self, folder: SpillFolder, prefix: str):
        self._folder, self._prefix = folder, prefix
        self._arrays: dict[str, GrowingArray] = {}

    def append(self, recorded: Mapping[str, Recorded]) -> None:
        """Adds a batch. Raises DiskError."""
        for name, value in recorded.items():
            for part, array in parts_of(name, value).items():
                if part not in self._arrays:
                    self._arrays[part] = GrowingArray(self._folder, f"{self._prefix}.{part}")
                self._arrays[part].append(array)

    def __getitem__(self, name: str) -> AnyArray:
        return self._arrays[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@dataclass(frozen=True)
class RecordedBatch:
    """What is recorded of one head's batch.

    Attributes:
        images: Names of its N images.
        patients: Patient of each.
        labels: (N, K) tri-state truth.
        truth: What the task records of the truth.
        models: What it records of each model's predictions.
    """

    images: list[str]
    patients: list[str]
    labels: AnyArray
    truth: Mapping[str, Recorded]
    models: Mapping[str, Mapping[str, Recorded]]


class Recorder:
    """Records one head: the truth once, and the predictions of every model beside it.

    Args:
        key: Dataset and task.
        classes: K names.
        models: Names of the models.
        folder: Folder for arrays that grow large.
    """

    def __init__(self, key: TaskKey, classes: tuple[str, ...], models: Sequence[str], folder: SpillFolder):
        self.key, self.classes = key, classes
        self.task = task_of(key.task)
        self._images: list[str] = []
        self._patients: list[str] = []
        self._labels = GrowingArray(folder, f"{key.dataset}.{key.task.value}.labels")
        self._truth = GrowingArrays(folder, f"{key.dataset}.{key.task.value}.truth")
        self._models = {name: GrowingArrays(folder, f"{key.dataset}.{key.task.value}.model.{name}") for name in models}

    def record(self, predictions: Mapping[str, Prediction], batch: Batch) -> RecordedBatch:
        """What is recorded of one batch on the host, with what each model predicts for it; nothing is added yet."""
        return RecordedBatch(
            [meta.image for meta in batch.metas],
            [meta.patient for meta in batch.metas],
            batch.labels.numpy(),
            self.task.record_truth(batch),
            {name: self.task.record_prediction(prediction, batch) for name, prediction in predictions.items()},
        )

    def add(self, recorded: RecordedBatch) -> None:
        """Adds one batch.

        Raises:
            DiskError: The disk does not take it.
        """
        self._images += recorded.images
        self._patients += recorded.patients
        self._labels.append(recorded.labels)
        self._truth.append(recorded.truth)
        for name, values in recorded.models.items():
            self._models[name].append(values)

    def predictions(self, split: Split, visit: int) -> list[Predictions]:
        """All that was added, one entry per model; none if nothing was added (every image was unreadable)."""
        if not self._images:
            return []
        common = (np.array(self._images), np.array(self._patients), self._labels.read())
        return [
            Predictions(self.key, name, split, visit, self.classes, *common, PartsView(self._truth, arrays))
            for name, arrays in self._models.items()
        ]


def _disk_error(path: Path, error: OSError) -> DiskError:
    fix = "free disk space or make it writable, then start the same command again: it goes on"
    return DiskError(str(path), f"cannot be written: {error.strerror or error}", fix=fix)
