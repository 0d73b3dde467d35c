"""What every reader works with: the card's files going in, checked images coming out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import Annotations, BadSample, Split, Task, TaskKey
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import template_fields
from foundationx.datasets.cards.tasks import AnnotationFile
from foundationx.datasets.readers._bounds import file_of_card
from foundationx.datasets.readers._files import read_json
from foundationx.datasets.readers._images import Images, inside
from foundationx.datasets.readers._patients import OfficialSplits, Patients
from foundationx.datasets.readers._tables import Table, check_columns, join_tables, read_header, read_table


class ReaderOptions(BaseModel):
    """Base of a reader's options: an unknown option is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source:
    """The files of one task of a card, and the annotations read from them so far.

    A reader takes tables or JSON from here, and adds its images one by one inside :meth:`guard`, which decides what a
    fault does: it ends the reading, or it takes the image out and lists it. A task of several annotation files is read
    file by file; :meth:`open` goes on to the next.

    Args:
        card: of the dataset.
        task: being read.
        data_root: folder of all datasets.
        folder: the dataset's folder.
        skip: leave faulty images out instead of raising.

    Raises:
        CardError: the patient table or a split list is outside ``data_root``.
        DataError: the dataset's folder, the patient table or a split list is missing or faulty.
    """

    def __init__(self, card: Card, task: Task, data_root: Path, folder: Path, skip: bool):
        if not os.path.isdir(folder):
            raise DataError(str(folder), "there is no such folder", f"the folder of {card.name}", "check root")
        self.card, self.task, self.folder, self.skip = card, task, folder, skip
        self.facts = task.facts
        self.spec = card.tasks[task]
        self.classes = tuple(item.name for item in self.spec.classes)
        self.part = AnnotationFile()
        self.images = Images(folder, data_root)
        self._data_root = data_root
        self._index = {name: k for k, item in enumerate(self.spec.classes) for name in item.published}
        self._patients = Patients(card, data_root, folder)
        self._splits = OfficialSplits(card, data_root, folder)
        self._rows: dict[str, str] = {}
        self._labels: list[np.ndarray] = []
        self._names: list[str] = []
        self._sides: list[Split | None] = []
        self._targets: list[Any] = []
        self._sizes: dict[str, tuple[int, int]] = {}
        self.faults: list[tuple[str, DataError]] = []
        """What was left out under ``skip``: image as published, and why."""

    def open(self, part: AnnotationFile) -> None:
        """Goes on to an annotation file. Raises DataError where the folder of its images is missing."""
        self.part = part
        self.images.look_in(part.images, part.image_suffix, self.spec.image_path)

    @property
    def file(self) -> str:
        """The annotation file as it is called in messages."""
        return self.part.file

    @property
    def published(self) -> tuple[tuple[str, ...], ...]:
        """Published names of each class."""
        return tuple(item.published for item in self.spec.classes)

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns in which patient, side and path of an image stand."""
        named = [key.column for key in (self.card.patient, self.card.splits) if key is not None and key.column]
        return (*named, *(template_fields(self.spec.image_path) if self.spec.image_path else ()))

    def table(self, required: Iterable[str], optional: Iterable[str] = ()) -> Table:
        """The annotation file as a table, with its joined tables: the rows that the card keeps.

        Args:
            required: columns that the reader needs; those of :attr:`row_columns` are read besides.
            optional: columns to read where they are there.

        Raises:
            CardError: a file is outside the data root.
            DataError: a file or column is missing, or a row has no partner in a joined table.
        """
        required = tuple(dict.fromkeys([*required, *self.row_columns, *self.spec.keep]))
        if self.spec.join:
            table = self._joined(required, optional)
        else:
            table = read_table(self._inside(self.file), self.file, required, optional, self.spec.table)
        return table.where_in(self.spec.keep) if self.spec.keep else table

    def _joined(self, required: Sequence[str], optional: Iterable[str]) -> Table:
        """The annotation file with the columns of its joined tables beside its own."""
        path, layout = self._inside(self.file), self.spec.table
        known = {self.file: read_header(path, self.file, layout)}
        known |= {join.file: read_header(self._inside(join.file), join.file) for join in self.spec.join}
        check_columns(dict.fromkeys(name for names in known.values() for name in names), required, self.file)
        keys = [column for join in self.spec.join for column in join.on]
        own = [column for column in (*required, *optional) if column in known[self.file]]
        table = read_table(path, self.file, [*own, *keys], (), layout)
        for join in self.spec.join:
            further = [c for c in (*required, *optional) if c in known[join.file] and c not in table.cells]
            other = read_table(self._inside(join.file), join.file, [*join.on, *further])
            table = join_tables(table, other, join.on, join.missing)
        return table

    def json(self) -> Any:
        """The annotation file as JSON. Raises CardError or DataError."""
        return read_json(self._inside(self.file), self.file)

    def _inside(self, file: str) -> Path:
        """A file of the card, which must stand in the data root."""
        return file_of_card(self.folder, file, self._data_root, f"{self.card.file}: tasks.{self.task.value}")

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

    def has_class(self, published: str) -> bool:
        """Whether a published name stands for a class."""
        return published in self._index

    def wants(self, part: str) -> bool:
        """Whether the task learns from this part of an image's annotation (``boxes``, ``masks``)."""
        return self.facts.part == part

    def labels(self, value: float) -> np.ndarray:
        """(K,) float32, every class ``value`` (NaN: unknown)."""
        return np.full(len(self.classes), value, dtype=np.float32)

    def image(self, name: str, where: str, cells: Mapping[str, object] | None = None) -> str:
        """Path of a published image relative to the dataset's folder. Raises DataError as :meth:`Images.path`."""
        return self.images.path(name, where, cells)

    def path(self, name: str, where: str, folder: str = "") -> str:
        """``folder/name`` relative to the dataset's folder. Raises DataError where it is empty or leads elsewhere."""
        return f"{folder}/{inside(name, where)}" if folder else inside(name, where)

    def guard(self, where: str, image: str) -> _Guard:
        """Context for one image: a DataError inside it is raised, or lists the image as bad, as the user asked."""
        return _Guard(self, where, image)

    def add(
        self,
        image: str,
        where: str,
        labels: np.ndarray,
        cells: Mapping[str, object] | None = None,
        size: tuple[int, int] | None = None,
        **parts: Any,
    ) -> None:
        """Adds one image; of its parts the task keeps those that it learns from. Call inside :meth:`guard`.

        Args:
            image: path as :meth:`image` gives it.
            where: place of its annotation.
            labels: (K,) tri-state.
            cells: its row or record, in which the card's patient and split columns are looked up.
            size: height and width of the image in pixels, where the file says them.
            parts: what else the file says of the image, by name: ``boxes``, n boxes x1 y1 x2 y2 in pixels, with
                ``box_classes``, n class indices; ``masks``, parts of masks; or whatever another task takes.

        Raises:
            DataError: the image was added before or does not exist, or patient or split cannot be told.
        """
        if image in self._rows:
            found = f"{image} stands here again, first in {self._rows[image]}"
            raise DataError(where, found, "each image once", "remove one of the two")
        self.images.require(image, where)
        cells = cells or {}
        patient = self._patients.name(image, cells, where)
        side = self.part.split or self._splits.side(image, cells, where)
        self._rows[image] = where
        self._labels.append(labels)
        self._names.append(patient)
        self._sides.append(side)
        if size is not None and self.facts.has_targets:
            self._sizes[image] = size
        if self.facts.has_targets:
            self._targets.append(self.facts.annotation(parts))

    def finish(self) -> Annotations:
        """The annotations read. Raises DataError where no image is left."""
        if not self._rows:
            reason = f"; the first of {len(self.faults)} bad ones: {self.faults[0][1].found}" if self.faults else ""
            where = str(self.folder / self.file)
            raise DataError(where, f"no image can be used{reason}", "annotated images", "check the card and the files")
        return Annotations(
            key=TaskKey(self.card.name, self.task),
            classes=self.classes,
            images=list(self._rows),
            patients=self._names,
            rows=list(self._rows.values()),
            labels=np.stack(self._labels).astype(np.float32),
            splits=self._sides,
            targets=self._targets,
            bad=[
                BadSample(self.card.name, self.task.value, image, error.where, error.found)
                for image, error in self.faults
            ],
            sizes=self._sizes,
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
        self.source.faults.append((self.image, error.with_traceback(None)))  # a traceback would keep the row's frames
        return True
