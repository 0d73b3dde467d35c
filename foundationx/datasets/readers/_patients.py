"""The patient of an image and its official split, as the card describes them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Split
from foundationx.datasets.cards.card import Card, PatientKey, PatientTable, SplitTable
from foundationx.datasets.cards.schema import listed_name
from foundationx.datasets.readers._dicom_header import DicomHeaders
from foundationx.datasets.readers._files import MissingFileError, read_json, read_text
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._tables import check_columns, read_header, read_table


class Patients:
    """Names the patient of an image: ``namespace:value``.

    Args:
        card: Card of the dataset.
        folder: Folder of the dataset.

    Raises:
        CardError: A patient table is outside the data root.
        DataError: A patient table is missing, lacks a column or gives one image two patients.
    """

    def __init__(self, card: Card, folder: DatasetFolder):
        key = card.patient or PatientKey.model_construct()
        self._key = card.patient
        self._namespace = key.namespace or card.name
        self._pattern = re.compile(key.pattern) if key.pattern is not None else None
        self._headers = DicomHeaders(folder, key.dicom) if key.dicom is not None else None
        self._other_namespaces = {name: re.compile(expression) for name, expression in key.namespaces.items()}
        self._first_of = {value: group[0] for group in key.same for value in group}
        self._tables = [(table, _read_patients(table, card, folder)) for table in key.tables]

    @property
    def reads_images(self) -> bool:
        """Whether patients are in the headers of the images, so that these are named by their own files."""
        return self._headers is not None

    def name(self, image: str, cells: Mapping[str, object], where: str) -> str:
        """The patient of an image.

        Args:
            image: Path relative to the dataset's folder.
            cells: Row or record of the image in the annotation file.
            where: Location of the row, for messages.

        Raises:
            DataError: The patient cannot be determined.
        """
        if self._key is None:
            return f"{self._namespace}:{image}"
        if self._key.column is not None:
            value, origin = _text(cells.get(self._key.column)), f"the column {self._key.column!r}"
        elif self._headers is not None:
            value, origin = self._headers.value(image, where), f"{self._key.dicom} of its DICOM header"
        elif self._pattern is not None:
            match = self._pattern.search(image)
            value, origin = match.group(1) if match else "", f"the pattern {self._key.pattern!r}"
        else:
            value, origin = "", ", ".join(_listing(table, image) for table, _ in self._tables if not table.translates)
        namespace = None
        for table, patients in self._tables:
            if bool(value) == table.translates:
                found = patients.get(listed_name(image, table.image_value, value), "")
                value, namespace = (found, table.namespace) if found else (value, namespace)
        if not value and self._key.unlisted == "own" and not (self._key.column or self._key.pattern or self._headers):
            return f"{self._namespace}:{image.rpartition('/')[2]}"
        if not value:
            raise DataError(where, f"{origin} gives no patient for {image}", "a patient", "correct patient in the card")
        return self._named(self._first_of.get(value, value), namespace)

    def names(self, images: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str | None]:
        """The patients of many images; None where :meth:`name` would raise.

        Args:
            images: Paths relative to the dataset's folder.
            columns: Columns of the annotation file, each with one cell per image.
        """
        if self._key is None:
            return [f"{self._namespace}:{image}" for image in images]
        if self._tables or (self._key.column is None and self._pattern is None):
            column = columns[self._key.column] if self._key.column is not None else itertools.repeat(None, len(images))
            return [self._known(image, cell) for image, cell in zip(images, column, strict=True)]
        if self._key.column is not None:
            values: Sequence[str] = columns[self._key.column]
        else:
            search = self._pattern.search if self._pattern is not None else re.compile("()").search
            values = [match[1] or "" if match else "" for match in map(search, images)]
        named = _Named(lambda value: self._named(self._first_of.get(value, value), None) if value else None)
        return list(map(named.__getitem__, values))

    def _known(self, image: str, cell: str | None) -> str | None:
        """The patient of an image, None if it cannot be determined."""
        cells = {} if self._key is None or self._key.column is None else {self._key.column: cell}
        try:
            return self.name(image, cells, "")
        except DataError:
            return None

    def _named(self, value: str, namespace: str | None) -> str:
        """The value in its namespace: that of the table it is from, that of an expression, or the card's."""
        if namespace is not None:
            return f"{namespace}:{value}"
        for other, expression in self._other_namespaces.items():
            if match := expression.fullmatch(value):
                return f"{other}:{match.group(1)}"
        return f"{self._namespace}:{value}"


class _Named(dict[str, str | None]):
    """The patient of each value, made when it is first asked for."""

    def __init__(self, name: Callable[[str], str | None]):
        super().__init__()
        self._name = name

    def __missing__(self, value: str) -> str | None:
        self[value] = result = self._name(value)
        return result


def _listing(table: PatientTable, image: str) -> str:
    return f"{' or '.join(table.file)} with {' or '.join(table.image_column)} {listed_name(image, table.image_value)!r}"


def _text(value: object) -> str:
    """A cell as text; in JSON it may be a number or null."""
    return "" if value is None else str(value).strip()


def _read_patients(table: PatientTable, card: Card, folder: DatasetFolder) -> dict[str, str]:
    """Patients by image, as the table writes the image; empty if a table that is not required does not exist."""
    where, named = f"{card.file}: patient.tables", " | ".join(table.file)
    paths = {name: folder.file(name, where) for name in table.file}
    existing = next((folder.file(name, where) for name in folder.existing(named, where)), None)
    if existing is None and not table.required:
        return {}
    if existing is None:
        fix = f"download it{f' from {table.source}' if table.source else ''}, or correct patient.tables in the card"
        found = f"there is no such file ({next(iter(paths.values()))})"
        raise MissingFileError(" or ".join(paths), found, "the published table of patients", fix)
    patients: dict[str, str] = {}
    for where, image, patient in _rows(existing, table):
        if patients.setdefault(image, patient) != patient and table.repeated == "error":
            other = f"{image} has the patient {patient}, but an earlier row gives {patients[image]}"
            raise DataError(where, other, "one patient per image", "remove one of the rows")
    return patients


def _rows(path: Path, table: PatientTable) -> Iterator[tuple[str, str, str]]:
    """Location, image and patient of every row or record."""
    if path.suffix == ".json":
        yield from _records(read_json(path, path.name), path.name, table)
        return
    columns = read_header(path, path.name)
    image, patient = _column(table.image_column, columns), _column(table.value_column, columns)
    for row in read_table(path, path.name, [image, patient]).rows:
        yield row.where, row.cells[image], row.cells[patient]


def _records(records: object, name: str, table: PatientTable) -> Iterator[tuple[str, str, str]]:
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(name, "is not a list of records", "a JSON list of objects", "correct patient.tables")
    keys = list(dict.fromkeys(key for record in records for key in record))
    image, patient = _column(table.image_column, keys), _column(table.value_column, keys)
    check_columns(keys, [image, patient], name)
    for number, record in enumerate(records, start=1):
        yield f"{name} record {number}", _text(record.get(image)), _text(record.get(patient))


def _column(names: Sequence[str], available: Collection[str]) -> str:
    """The first of the names that the table has; the first of all if it has none, for the message."""
    return next((name for name in names if name in available), names[0])


def _read_splits(table: SplitTable, card: Card, folder: DatasetFolder) -> dict[str, str]:
    """Values by image, as the table writes the image."""
    where = f"{card.file}: splits.table"
    name = folder.choose(table.file, where)
    values: dict[str, str] = {}
    for row in read_table(folder.file(name, where), name, [table.image_column, table.value_column]).rows:
        image, value = row.cells[table.image_column], row.cells[table.value_column]
        if values.setdefault(image, value) != value:
            found = f"{image} is in {value!r}, but an earlier row gives {values[image]!r}"
            raise DataError(row.where, found, "one split per image", "remove one of the rows")
    return values


class OfficialSplits:
    """The published split of an image, None if there is none.

    Args:
        card: Card of the dataset.
        folder: Folder of the dataset.

    Raises:
        CardError: A list or table is outside the data root.
        DataError: A list or table is missing or empty, or an image is in two splits.
    """

    def __init__(self, card: Card, folder: DatasetFolder):
        source = card.splits
        self._column = source.column if source else None
        self._pattern = re.compile(source.pattern) if source and source.pattern else None
        values = source.values.items() if source else ()
        self._values: dict[str, Split | None] = {value: split for split, given in values for value in given}
        self._values |= dict.fromkeys(source.unassigned if source else (), None)
        self._table = source.table if source else None
        self._cells = _read_splits(self._table, card, folder) if self._table is not None else {}
        self._listed: dict[str, Split] = {}
        self._has_lists = bool(source and source.lists)
        for split, name in (source.lists if source else {}).items():
            where = f"{card.file}: splits.lists.{split.value}"
            file = folder.choose(name, where)
            self._read_list(folder.file(file, where), file, split)

    def _read_list(self, path: Path, name: str, split: Split) -> None:
        for number, line in enumerate(read_text(path, name).splitlines(), start=1):
            image = line.strip()
            if image and self._listed.setdefault(image, split) != split:
                found = f"{image} is also in the list of {self._listed[image].value}"
                raise DataError(f"{name} row {number}", found, "each image in one list", "correct the lists")

    def splits(
        self, images: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> tuple[list[Split | None], np.ndarray]:
        """The official splits of many images, and for which :meth:`split` would raise, (N,) bool.

        Args:
            images: Paths relative to the dataset's folder.
            columns: Columns of the annotation file, each with one cell per image.
        """
        fine = np.zeros(len(images), dtype=bool)
        if self._has_lists:
            if not any("/" in name for name in self._listed):
                return [self._listed.get(image.rpartition("/")[2]) for image in images], fine
            return [self.split(image, {}, "") for image in images], fine
        if self._pattern is not None:
            matches = map(self._pattern.search, images)
            values: Sequence[str] = [match.group(1) or "" if match else "" for match in matches]
        elif self._table is not None:
            values = [self._cells.get(listed_name(image, self._table.image_value), "") for image in images]
        elif self._column is not None:
            values = columns[self._column]
        else:
            return [None] * len(images), fine
        unnamed = {value for value in set(values) if value and value not in self._values}
        raises = np.fromiter(map(unnamed.__contains__, values), dtype=bool, count=len(images)) if unnamed else fine
        return [self._values.get(value) for value in values], raises

    def split(self, image: str, cells: Mapping[str, object], where: str) -> Split | None:
        """The official split of an image; lists may name it by its path, by the end of its path or by its file name.

        Args:
            image: Path relative to the dataset's folder.
            cells: Row or record of the image in the annotation file.
            where: Location of the row, for messages.

        Raises:
            DataError: Column or path have a value that the card does not name.
        """
        if self._has_lists:
            parts = image.split("/")
            ends = ("/".join(parts[first:]) for first in range(len(parts)))
            return next((self._listed[end] for end in ends if end in self._listed), None)
        if self._pattern is not None:
            match = self._pattern.search(image)
            value, origin = match.group(1) if match else "", "the split in the path"
        elif self._table is not None:
            value = self._cells.get(listed_name(image, self._table.image_value), "")
            origin = self._table.value_column
        elif self._column is not None:
            value, origin = _text(cells.get(self._column)), self._column
        else:
            return None
        if value and value not in self._values:
            expected = f"one of {', '.join(self._values)}"
            raise DataError(where, f"{origin} is {value!r}", expected, "add the value to splits.values in the card")
        return self._values.get(value)
