"""Common base of all readers: gives them the files of a card and collects checked annotations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from pydantic import BaseModel, ConfigDict

from foundationx.core.errors import DataError, nearest
from foundationx.core.locations import Locations
from foundationx.core.types import Annotations, BadSample, ReferenceSize, Split, Task, TaskKey, is_sided
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.class_names import ClassNames
from foundationx.datasets.cards.schema import template_fields
from foundationx.datasets.cards.tasks import AnnotationFile, TableFormat
from foundationx.datasets.readers._cells import Convert
from foundationx.datasets.readers._files import read_json
from foundationx.datasets.readers._images import Images
from foundationx.datasets.readers._paths import DatasetFolder, checked_name
from foundationx.datasets.readers._patients import OfficialSplits, Patients
from foundationx.datasets.readers._stored_tables import store_table
from foundationx.datasets.readers._tables import (
    CSV,
    Table,
    add_derived,
    check_columns,
    join_tables,
    read_header,
    read_table,
)


class ReaderOptions(BaseModel):
    """Base class of a reader's options: unknown options are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass
class Strings:
    """What published strings other than names of classes were taken for, each with its number of rows or cells.

    Attributes:
        absent: Strings that made all classes absent, or a cell's class (No Finding, 0).
        unknown: Strings that made classes unknown.
        ignored: Strings that say nothing of the classes.
    """

    absent: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, dict[str, int]]:
        """Strings and their numbers by what they were taken for, the most frequent first."""
        return {item.name: dict((+getattr(self, item.name)).most_common()) for item in fields(self)}


OptionsT = TypeVar("OptionsT", bound=ReaderOptions, contravariant=True)
T = TypeVar("T", dict[str, Any], list[Any])


class Reader(Protocol[OptionsT]):
    """A module that reads one published format.

    Attributes:
        PROVIDES: Parts of the annotations that the format contains: ``labels``, ``boxes``, ``masks``.
        Options: Class of its options.
    """

    PROVIDES: frozenset[str]

    @property
    def Options(self) -> type[ReaderOptions]:  # noqa: N802
        """Class of the options."""

    def read(self, source: Source, options: OptionsT, /) -> None:
        """Adds every image of the annotation file to ``source``."""


class Source:
    """The files of one task of a card, and the annotations read from them so far.

    A reader gets tables or JSON from here and adds its images one by one inside :meth:`guard`, which either raises an
    error or skips and lists the image. A task with several annotation files is read file by file; :meth:`open` starts
    the next one.

    Args:
        card: Card of the dataset.
        task: Task to read.
        data_root: Folder of all datasets.
        folder: Folder of the dataset.
        skip: Whether to skip invalid images instead of raising.
        root: Folder under ``data_root`` that holds ``folder``; None: that of the card.

    Raises:
        CardError: The patient table or a split list is outside ``data_root``.
        DataError: The dataset's folder, the patient table or a split list is missing or invalid.
    """

    def __init__(self, card: Card, task: Task, data_root: Path, folder: Path, skip: bool, root: str | None = None):
        if not os.path.isdir(folder):
            raise DataError(
                str(folder), "there is no such folder", f"the folder of {card.name}", "check the card's root"
            )
        self.card, self.task, self.folder, self.skip = card, task, folder, skip
        self.facts = task.facts
        self.spec = card.tasks[task]
        self.classes = tuple(item.name for item in self.spec.classes)
        self.part = AnnotationFile()
        self._dataset = DatasetFolder(folder, data_root, data_root / (card.root if root is None else root))
        self.images = Images(self._dataset)
        self.names = ClassNames(self.spec)
        self._patients = Patients(card, self._dataset)
        self._splits = OfficialSplits(card, self._dataset)
        self._images: dict[str, None] = {}
        self._rows = Locations()
        self._labels: list[np.ndarray] = []
        self._equal_labels: dict[bytes, np.ndarray] = {}
        """One array (1, K) for all images with the same labels."""
        self._patient_names: list[str] = []
        self._official_splits: list[Split | None] = []
        self._targets: list[Any] = []
        self._sizes: dict[str, ReferenceSize] = {}
        self.strings = Strings()
        self.faults: list[tuple[str, DataError]] = []
        """Skipped images (published names) and their errors."""
        self.left_out = 0
        """Rows without a match in a joined table, which the card leaves out."""

    def open(self, part: AnnotationFile) -> None:
        """Starts an annotation file. Raises DataError if it or the folder of its images is missing."""
        chosen = self._dataset.choose(part.file, self._where) if part.file else ""
        self.part = part.model_copy(update={"file": chosen})
        folders = self.spec.images if part.images is None else part.images
        suffix = self.spec.image_suffix if part.image_suffix is None else part.image_suffix
        self.images.set_folders(folders, suffix, self.spec.image_path)

    @property
    def file(self) -> str:
        """Name of the annotation file in messages."""
        return self.part.file

    @property
    def published(self) -> tuple[tuple[str, ...], ...]:
        """Published names of each class."""
        return tuple(item.published for item in self.spec.classes)

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns with the patient, split and path of an image."""
        columns = [key.column for key in (self.card.patient, self.card.splits) if key is not None and key.column]
        return (*columns, *(template_fields(self.spec.image_path) if self.spec.image_path else ()))

    def table(
        self, required: Iterable[str], optional: Iterable[str] = (), convert: Mapping[str, Convert] | None = None
    ) -> Table:
        """The annotation file as a table with its joined tables, and only the rows that the card keeps.

        Args:
            required: Columns that the reader needs; those of :attr:`row_columns` are read, too.
            optional: Columns to read if the table has them.
            convert: Columns whose cells become other values than strings, unless the card chooses rows by them.

        Raises:
            CardError: A file is outside the data root.
            DataError: A file or column is missing, or a row has no match in a joined table.
        """
        choosing = {*self.spec.keep, *self.spec.leave_out}
        convert = {column: change for column, change in (convert or {}).items() if column not in choosing}
        required = tuple(dict.fromkeys([*required, *self.row_columns, *self.spec.keep, *self.spec.leave_out]))
        if self.spec.join:
            table = self._joined(required, optional, convert)
        else:
            table = self._read_table(self.file, required, optional, self.spec.table, convert)
        table = table.select_rows(self.spec.keep) if self.spec.keep else table
        return table.drop_rows(self.spec.leave_out) if self.spec.leave_out else table

    def table_of(self, file: str, required: Iterable[str], optional: Iterable[str] = ()) -> Table:
        """Another table of the dataset, which a row of the annotation file names.

        Args:
            file: Path relative to the dataset's folder, inside the data root.
            required: Columns that the reader needs.
            optional: Columns to read if the table has them.

        Raises:
            CardError: The file is outside the data root.
            DataError: The file or a column is missing.
        """
        return self._read_table(file, required, optional)

    def _joined(self, required: Sequence[str], optional: Iterable[str], convert: Mapping[str, Convert] | None) -> Table:
        """The annotation file with the columns of its joined tables."""
        joined = [(join, self._dataset.choose(join.file, self._where)) for join in self.spec.join]
        known = {self.file: self._header(self.file, self.spec.table)}
        known |= {file: self._header(file, join.table) for join, file in joined}
        check_columns(dict.fromkeys(name for names in known.values() for name in names), required, self.file)
        keys = [column for join in self.spec.join for column in join.on]
        own = [column for column in (*required, *optional) if column in known[self.file]]
        table = self._read_table(self.file, [*own, *keys], (), self.spec.table, convert)
        for join, file in joined:
            columns = [c for c in (*required, *optional) if c in known[file] and c not in table.cells]
            other = self._read_table(file, [*join.on, *columns], (), join.table, convert)
            matched = join_tables(table, other, join.on, join.missing)
            self.left_out += len(table) - len(matched)
            table = matched
        return table

    def _read_table(
        self,
        file: str,
        required: Iterable[str],
        optional: Iterable[str] = (),
        layout: TableFormat = CSV,
        convert: Mapping[str, Convert] | None = None,
    ) -> Table:
        """A table in a text file or in stores, with the derived columns that are asked for."""
        derived, asked = layout.derived, [*required]
        required = [derived[column].column if column in derived else column for column in asked]
        if packed := self._dataset.store_files(file, self._where):
            table = store_table(self._dataset, packed, file, required, optional)
        else:
            table = read_table(self._path(file), file, required, optional, layout, convert)
        for column in dict.fromkeys(asked):
            if column in derived:
                add_derived(table, column, derived[column])
        return table

    def _header(self, file: str, layout: TableFormat) -> tuple[str, ...]:
        """Columns of the annotation file or of a joined one, with the derived ones."""
        if packed := self._dataset.store_files(file, self._where):
            columns = store_table(self._dataset, packed, file, ()).columns
        else:
            columns = read_header(self._path(file), file, layout)
        return (*columns, *(name for name in layout.derived if name not in columns))

    def json(self) -> Any:
        """The annotation file as JSON. Raises CardError or DataError."""
        return read_json(self._path(self.file), self.file)

    def json_of(self, kind: type[T], expected: str) -> T:
        """The annotation file as JSON whose outermost value is of a type.

        Args:
            kind: ``dict`` or ``list``.
            expected: What the file should hold, for the message.

        Raises:
            CardError: The card names no such file.
            DataError: It cannot be read, or its outermost value is of another type.
        """
        content = self.json()
        if not isinstance(content, kind):
            raise DataError(self.file, f"contains a {type(content).__name__}", expected, "download it again")
        return content

    def _path(self, file: str) -> Path:
        """Path of a file that the card names; it must be inside the data root."""
        return self._dataset.file(file, self._where)

    @property
    def _where(self) -> str:
        """The task's key in the card."""
        return f"{self.card.file}: tasks.{self.task.value}"

    def class_indices(self, published: str, where: str, known: Iterable[str] = ()) -> list[int]:
        """Indices of the classes that a published name makes present: usually one; none for a label of the tree alone.

        Args:
            published: Published name.
            where: Location of the name, for messages.
            known: Names that are not classes; the hint suggests them, too.

        Raises:
            DataError: The card has no such name.
        """
        if published not in self.names:
            raise DataError(
                where,
                f"{published!r} is not a class of {self.card.name}",
                nearest(published, [*self.names, *known]),
                f"correct the row, or write {published!r} in the card: under `sources` of a class, or in `other` "
                "(no class, image searched) or `ignore` (says nothing) of the reader's options",
            )
        return list(self.names.indices(published))

    def needs(self, part: str) -> bool:
        """Whether the task uses this part of the annotations (``boxes``, ``masks``)."""
        return self.facts.part == part

    def labels(self, value: float) -> np.ndarray:
        """Labels (K,) float32 with every class set to ``value`` (NaN: unknown)."""
        return np.full(len(self.classes), value, dtype=np.float32)

    def image(self, name: str, where: str, cells: Mapping[str, object] | None = None) -> str:
        """Path of a published image relative to the dataset's folder. Raises DataError like :meth:`Images.path`."""
        return self.images.path(name, where, cells)

    def path(self, name: str, where: str, folder: str = "") -> str:
        """``folder/name``. Raises DataError if it is empty or leads out of the folder."""
        return f"{folder}/{checked_name(name, where)}" if folder else checked_name(name, where)

    def guard(self, where: str, image: str) -> _Guard:
        """Context for one image: a DataError inside it is raised, or skips the image if the user chose so."""
        return _Guard(self, where, image)

    def add(
        self,
        image: str,
        where: str,
        labels: np.ndarray,
        cells: Mapping[str, object] | None = None,
        size: ReferenceSize | None = None,
        **parts: Any,
    ) -> None:
        """Adds one image; the task keeps the parts that it uses. Call inside :meth:`guard`.

        Args:
            image: Path as returned by :meth:`image`.
            where: Location of its annotation, for messages.
            labels: Labels (K,): 1 present, 0 absent, NaN unknown, or a soft label.
            cells: Row or record of the image, with the card's patient and split columns.
            size: Size in which the coordinates are given; None: that of the image.
            parts: Other annotations of the image by name: ``boxes`` (N, 4), x1 y1 x2 y2 in pixels, with
                ``box_classes``, class indices (N,), and ``ignored_boxes`` with ``ignored_classes``, regions in which a
                class is unknown; ``masks``, parts of masks; or those of another task.

        Raises:
            DataError: The image was added before or does not exist, or its patient or split cannot be determined.
        """
        self.images.require(image, where)
        cells = cells or {}
        published = self.images.published.get(image, image)
        target = self.images.aliases.get(image)
        image = target or image
        if image in self._images:
            found = f"{image} is repeated, first in {self._rows[list(self._images).index(image)]}"
            raise DataError(where, found, "each image once", "remove one of the two")
        own_patient = target if self.card.patient is None else None  # without a key, the file is the patient
        named = image if self._patients.reads_images else own_patient or published
        patient = self._patients.name(named, cells, where)
        split = self.part.split or self._splits.split(published, cells, where)
        self._images[image] = None
        self._rows.append(where)
        self._labels.append(self._equal_labels.setdefault(labels.tobytes(), labels[None]))
        self._patient_names.append(patient)
        self._official_splits.append(split)
        if size is not None and self.facts.has_targets:
            self._sizes[image] = size
        if self.facts.has_targets:
            self._targets.append(self.facts.annotation(parts))

    def add_rows(
        self,
        table: Table,
        image_column: str,
        labels: np.ndarray,
        add_row: Callable[[int], None],
        special: np.ndarray | None = None,
    ) -> np.ndarray:
        """Adds one image per row of a table, many at once; for tasks whose images have nothing but labels.

        Args:
            table: Table with the columns of :attr:`row_columns`.
            image_column: Column of the images.
            labels: Labels (N, K).
            add_row: Adds the image of a row, or raises for it; called for special rows and for those that raise.
            special: Rows (N,) bool that ``add_row`` has to add; None: none.

        Returns:
            Rows (N,) bool that were added without ``add_row``.
        """
        columns = {column: table.cells[column] for column in self.row_columns}
        found = self.images.paths(table.cells[image_column], columns)
        paths = [path or "" for path in found] if None in found else cast(list[str], found)
        published = [self.images.published.get(path, path) for path in paths] if self.images.published else paths
        named = self._patients.names(paths if self._patients.reads_images else published, columns)
        patients = [patient or "" for patient in named] if None in named else cast(list[str], named)
        splits, wrong = self._splits.splits(published, columns)
        distinct = dict.fromkeys(paths)
        wrong |= _are_none(found) | _are_none(named) | self._repeated(paths, distinct)
        if special is not None:
            wrong |= special
        if self.part.split is not None:
            splits = [self.part.split] * len(paths)
        start = 0
        for stop in [*np.flatnonzero(wrong).tolist(), len(paths)]:
            if start < stop:
                added = distinct if stop - start == len(paths) else dict.fromkeys(paths[start:stop])
                self._images = {**self._images, **added} if self._images else added
                self._rows.extend_rows(f"{table.name} row", table.lines[start:stop])
                self._labels.append(labels[start:stop])
                self._patient_names += patients[start:stop]
                self._official_splits += splits[start:stop]
            if stop < len(paths):
                add_row(stop)
            start = stop + 1
        return ~wrong

    def _repeated(self, paths: Sequence[str], distinct: dict[str, None]) -> np.ndarray:
        """(N,) bool, whether an image was added before or is in an earlier row."""
        repeated = np.zeros(len(paths), dtype=bool)
        if len(distinct) == len(paths) and self._images.keys().isdisjoint(paths):
            return repeated
        seen = set(self._images)
        for index, path in enumerate(paths):
            repeated[index] = path in seen
            seen.add(path)
        return repeated

    def finish(self) -> Annotations:
        """All annotations that were added. Raises DataError if there are none."""
        if not self._images:
            reason = f"; the first of {len(self.faults)} invalid ones: {self.faults[0][1].found}" if self.faults else ""
            where = str(self.folder / self.file)
            raise DataError(where, f"no image can be used{reason}", "annotated images", "check the card and the files")
        return Annotations(
            key=TaskKey(self.card.name, self.task),
            classes=self.classes,
            images=list(self._images),
            patients=self._patient_names,
            rows=self._rows,
            labels=np.concatenate(self._labels).astype(np.float32, copy=False),
            splits=self._official_splits,
            targets=self._targets,
            bad=[
                BadSample(self.card.name, self.task.value, image, error.where, error.found)
                for image, error in self.faults
            ],
            sizes=self._sizes,
            sided=tuple(item.name for item in self.spec.classes if is_sided(item.canonical or "")),
            mirror_pairs=self.spec.mirror_pairs,
        )


def _are_none(values: Sequence[object]) -> np.ndarray:
    """(N,) bool, whether each value is None."""
    if None not in values:
        return np.zeros(len(values), dtype=bool)
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


class _Guard:
    """See :meth:`Source.guard`. A class, because a generator-based context would take longer than reading the row."""

    __slots__ = ("image", "source", "where")

    def __init__(self, source: Source, where: str, image: str):
        self.source, self.where, self.image = source, where, image

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not self.source.skip or not isinstance(error, DataError):
            return False
        self.source.faults.append(
            (self.image, error.with_traceback(None))
        )  # a traceback would keep the row's frames alive
        return True
