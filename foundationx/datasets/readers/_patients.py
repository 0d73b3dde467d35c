"""The patient of an image and its official split, as the card describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.core.types import Split
from foundationx.datasets.cards.card import Card, PatientKey
from foundationx.datasets.cards.schema import listed_name
from foundationx.datasets.readers._files import read_text
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._tables import read_table


class Patients:
    """Names the patient of an image: ``namespace:value``.

    Args:
        card: Card of the dataset.
        folder: Folder of the dataset.

    Raises:
        CardError: The patient table is outside the data root.
        DataError: The patient table is missing, lacks a column or gives one image two patients.
    """

    def __init__(self, card: Card, folder: DatasetFolder):
        key = card.patient
        self._key = key
        self._namespace = (key.namespace if key else None) or card.name
        self._pattern = re.compile(key.pattern) if key and key.pattern is not None else None
        namespaces = key.namespaces if key else {}
        self._other_namespaces = {name: re.compile(expression) for name, expression in namespaces.items()}
        self._table: dict[str, str] = {}
        if key is not None and key.table is not None:
            self._table = _read_patients(folder.file(key.table, f"{card.file}: patient.table"), key)

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
        value = self._value(self._key, image, cells, where)
        for namespace, expression in self._other_namespaces.items():
            if match := expression.fullmatch(value):
                return f"{namespace}:{match.group(1)}"
        return f"{self._namespace}:{value}"

    def _value(self, key: PatientKey, image: str, cells: Mapping[str, object], where: str) -> str:
        if key.column is not None:
            value, origin = _text(cells.get(key.column)), f"the column {key.column!r}"
        elif self._pattern is not None:
            match = self._pattern.search(image)
            value, origin = match.group(1) if match else "", f"the pattern {key.pattern!r}"
        else:
            listed = listed_name(image, key.image_value)
            value, origin = self._table.get(listed, ""), f"{key.table} with {key.image_column} {listed!r}"
            if not value and key.unlisted == "own":
                return image.rpartition("/")[2]
        if not value:
            raise DataError(where, f"{origin} gives no patient for {image}", "a patient", "correct patient in the card")
        return value


def _text(value: object) -> str:
    """A cell as text; in JSON it may be a number or null."""
    return "" if value is None else str(value)


def _read_patients(path: Path, key: PatientKey) -> dict[str, str]:
    """Patients by image, as the table writes the image."""
    image_column, value_column = key.image_column or "", key.value_column or ""  # a card with a table has both
    patients: dict[str, str] = {}
    for row in read_table(path, path.name, [image_column, value_column]).rows:
        image, patient = row.cells[image_column], row.cells[value_column]
        if patients.setdefault(image, patient) != patient:
            other = f"{image} has the patient {patient}, but an earlier row gives {patients[image]}"
            raise DataError(row.where, other, "one patient per image", "remove one of the rows")
    return patients


class OfficialSplits:
    """The published split of an image, None if there is none.

    Args:
        card: Card of the dataset.
        folder: Folder of the dataset.

    Raises:
        CardError: A list is outside the data root.
        DataError: A list is missing or empty, or an image is in the lists of two splits.
    """

    def __init__(self, card: Card, folder: DatasetFolder):
        source = card.splits
        self._column = source.column if source else None
        self._pattern = re.compile(source.pattern) if source and source.pattern else None
        self._values = {value: split for split, values in source.values.items() for value in values} if source else {}
        self._listed: dict[str, Split] = {}
        self._has_lists = bool(source and source.lists)
        for split, name in (source.lists if source else {}).items():
            self._read_list(folder.file(name, f"{card.file}: splits.lists.{split.value}"), name, split)

    def _read_list(self, path: Path, name: str, split: Split) -> None:
        for number, line in enumerate(read_text(path, name).splitlines(), start=1):
            image = line.strip()
            if image and self._listed.setdefault(image, split) != split:
                found = f"{image} is also in the list of {self._listed[image].value}"
                raise DataError(f"{name} row {number}", found, "each image in one list", "correct the lists")

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
        elif self._column is not None:
            value, origin = _text(cells.get(self._column)), self._column
        else:
            return None
        if value and value not in self._values:
            expected = f"one of {', '.join(self._values)}"
            raise DataError(where, f"{origin} is {value!r}", expected, "add the value to splits.values in the card")
        return self._values.get(value)
