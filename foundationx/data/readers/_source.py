"""What every reader works with: the card's files going in, checked images coming out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from foundationx.data.readers._files import Row, Table, read_json, read_table
from foundationx.data.readers._patients import OfficialSplits, Patients
from foundationx.errors import DataError, nearest
from foundationx.registry.card import Card
from foundationx.types import Annotations, BadSample, MaskPart, Split, Task, TaskKey


class ReaderOptions(BaseModel):
    """Base of a reader's options: an unknown option is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source:
    """The files of one task of a card, and the annotations read from them so far.

    A reader takes tables or JSON from here, and adds its images one by one inside :meth:`guard`, which decides what a
    fault does: it ends the reading, or it takes the image out and lists it.

    Args:
        card: of the dataset.
        task: being read.
        data_root: folder of all datasets.
        folder: the dataset's folder.
        skip: leave faulty images out instead of raising.

    Raises:
        CardError: the patient table is outside ``data_root``.
        DataError: the dataset's folder, its images folder, the patient table or a split list is missing or faulty.
    """

    def __init__(self, card: Card, task: Task, data_root: Path, folder: Path, skip: bool):
        if not folder.is_dir():
            raise DataError(str(folder), "there is no such folder", f"the folder of {card.name}", "check root")
        self.card, self.task, self.folder, self.skip = card, task, folder, skip
        self.spec = card.tasks[task]
        self.classes = tuple(item.name for item in self.spec.classes)
        self._index = {name: k for k, item in enumerate(self.spec.classes) for name in item.published}
        self._patients = Patients(card, data_root, folder)
        self._splits = OfficialSplits(card, folder)
        if not (folder / self.spec.images).is_dir():
            found = f"there is no folder {self.spec.images!r}"
            raise DataError(str(folder), found, "the folder of the images", "check root, and images in the card")
        self._listings: dict[str, frozenset[str]] = {}
        self._rows: dict[str, str] = {}
        self._labels: list[np.ndarray] = []
        self._names: list[str] = []
        self._sides: list[Split | None] = []
        self._boxes: list[np.ndarray] = []
        self._box_classes: list[np.ndarray] = []
        self._masks: list[tuple[MaskPart, ...]] = []
        self._bad: list[BadSample] = []

    @property
    def published(self) -> tuple[tuple[str, ...], ...]:
        """Published names of each class."""
        return tuple(item.published for item in self.spec.classes)

    def table(self, required: Iterable[str]) -> Table:
        """The task's CSV file with the columns that reader, patients and splits need. Raises DataError."""
        further = [key.column for key in (self.card.patient, self.card.splits) if key is not None and key.column]
        return read_table(self.folder / self.spec.file, self.spec.file, [*required, *further])

    def json(self) -> Any:
        """The task's JSON file. Raises DataError."""
        return read_json(self.folder / self.spec.file, self.spec.file)

    def class_index(self, published: str, where: str, known: Iterable[str] = ()) -> int:
        """Index of the class that a published name stands for.

        Raises:
            DataError: the card has no such class; the hint also looks at ``known``, names with another meaning.
        """
        index = self._index.get(published)
        if index is None:
            raise DataError(
                where,
                f"{published!r} is no class of {self.card.name}",
                nearest(published, [*self._index, *known]),
                "correct the row, or add the name to the card's classes or to what it ignores",
            )
        return index

    def labels(self, value: float) -> np.ndarray:
        """(K,) float32, every class ``value`` (NaN: unknown)."""
        return np.full(len(self.classes), value, dtype=np.float32)

    def image(self, name: str, where: str) -> str:
        """Path of a published image name relative to the dataset's folder. Raises DataError as :meth:`path`."""
        return self.path(name, where, self.spec.images, self.spec.image_suffix)

    def path(self, name: str, where: str, folder: str = "", suffix: str = "") -> str:
        """``folder/name+suffix`` relative to the dataset's folder.

        Raises:
            DataError: the name is empty or leads out of the dataset's folder.
        """
        if not name:
            raise DataError(where, "names no file", "the name of a file", "mend the row")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            expected = "a path inside the dataset's folder, with forward slashes"
            raise DataError(where, f"the file name {name!r} leads elsewhere", expected, "mend the row")
        return f"{folder}/{name}{suffix}" if folder else f"{name}{suffix}"

    def files(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder of the dataset, without hidden ones; none where there is no such folder.

        Every folder is listed once: asking the disk once a file would take minutes for a large dataset.
        """
        if folder not in self._listings:
            self._listings[folder] = _list_files(self.folder / folder)
        return self._listings[folder]

    def require(self, path: str, where: str) -> None:
        """Raises DataError where a file of the dataset does not exist."""
        folder, _, name = path.rpartition("/")
        if name not in self.files(folder):
            mend = "download it, or go on without it by on_bad_sample='skip'"
            raise DataError(where, f"{path} does not exist in {self.folder}", "a file that exists", mend)

    def guard(self, where: str, image: str) -> _Guard:
        """Context for one image: a DataError inside it is raised, or lists the image as bad, as the user asked."""
        return _Guard(self, where, image)

    def add(
        self,
        image: str,
        where: str,
        labels: np.ndarray,
        cells: Mapping[str, object] | None = None,
        boxes: Sequence[Sequence[float]] = (),
        box_classes: Sequence[int] = (),
        masks: Sequence[MaskPart] = (),
    ) -> None:
        """Adds one image. Call inside :meth:`guard`.

        Args:
            image: path as :meth:`image` gives it.
            where: place of its annotation.
            labels: (K,) tri-state.
            cells: its row or record, in which the card's patient and split columns are looked up.
            boxes: n boxes x1 y1 x2 y2 in pixels.
            box_classes: n class indices.
            masks: parts of masks.

        Raises:
            DataError: the image was added before or does not exist, or patient or split cannot be told.
        """
        if image in self._rows:
            found = f"{image} stands here again, first in {self._rows[image]}"
            raise DataError(where, found, "each image once", "remove one of the two")
        self.require(image, where)
        cells = cells or {}
        patient, side = self._patients.name(image, cells, where), self._splits.side(image, cells, where)
        self._rows[image] = where
        self._labels.append(labels)
        self._names.append(patient)
        self._sides.append(side)
        self._boxes.append(np.asarray(boxes, dtype=np.float32).reshape(-1, 4))
        self._box_classes.append(np.asarray(box_classes, dtype=np.int64))
        self._masks.append(tuple(masks))

    def drop(self, image: str, where: str, reason: str) -> None:
        """Lists an image that is left out."""
        self._bad.append(BadSample(self.card.name, self.task.value, image, where, reason))

    def finish(self) -> Annotations:
        """The annotations read. Raises DataError where no image is left."""
        if not self._rows:
            reason = f"; the first of {len(self._bad)} bad ones: {self._bad[0].reason}" if self._bad else ""
            where = str(self.folder / self.spec.file)
            raise DataError(where, f"no image can be used{reason}", "annotated images", "check the card and the files")
        detection, segmentation = self.task is Task.DETECTION, self.task is Task.SEGMENTATION
        return Annotations(
            key=TaskKey(self.card.name, self.task),
            classes=self.classes,
            images=list(self._rows),
            patients=self._names,
            rows=list(self._rows.values()),
            labels=np.stack(self._labels).astype(np.float32),
            splits=self._sides,
            boxes=self._boxes if detection else None,
            box_classes=self._box_classes if detection else None,
            masks=self._masks if segmentation else None,
            bad=self._bad,
        )


class _Guard:
    """See :meth:`Source.guard`. A class, because a generator's context would cost more than reading the row."""

    __slots__ = ("image", "source", "where")

    def __init__(self, source: Source, where: str, image: str):
        self.source, self.where, self.image = source, where, image

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not self.source.skip or not isinstance(error, DataError):
            return False
        self.source.drop(self.image, error.where, error.found)
        return True


def group_by_image(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    """Rows of each image, images in the order of their first row."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.cells[column], []).append(row)
    return groups


def _list_files(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir())
