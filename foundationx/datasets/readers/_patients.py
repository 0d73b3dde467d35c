"""Which patient an image shows and which official side it is on, as the card says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from foundationx.core.errors import DataError
from foundationx.core.types import Split
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.people import PatientKey
from foundationx.datasets.readers._bounds import file_of_card
from foundationx.datasets.readers._files import read_text
from foundationx.datasets.readers._tables import read_table


class Patients:
    """Names the patient of an image: ``namespace:value``.

    Args:
        card: of the dataset.
        data_root: folder that a patient table must stand in.
        folder: the dataset's folder.

    Raises:
        CardError: the patient table is outside ``data_root``.
        DataError: the patient table is missing, lacks a column or gives one image two patients.
    """

    def __init__(self, card: Card, data_root: Path, folder: Path):
        self._key: PatientKey | None = card.patient
        self._namespace = (self._key.namespace if self._key else None) or card.name
        self._table: dict[str, str] = {}
        if self._key is None:
            return
        self._pattern = re.compile(self._key.pattern) if self._key.pattern is not None else None
        self._others = {name: re.compile(expression) for name, expression in self._key.namespaces.items()}
        if self._key.table is not None:
            path = file_of_card(folder, self._key.table, data_root, f"{card.file}: patient.table")
            self._table = _read_patients(path, self._key)

    def name(self, image: str, cells: Mapping[str, object], where: str) -> str:
        """The patient of an image.

        Args:
            image: path relative to the dataset's folder.
            cells: the image's row or record in the annotation file.
            where: place of the row, for messages.

        Raises:
            DataError: the patient cannot be told.
        """
        if self._key is None:
            return f"{self._namespace}:{image}"
        value = self._value(image, cells, where)
        for namespace, expression in self._others.items():
            if match := expression.fullmatch(value):
                return f"{namespace}:{match.group(1)}"
        return f"{self._namespace}:{value}"

    def _value(self, image: str, cells: Mapping[str, object], where: str) -> str:
        key = self._key
        if key.column is not None:
            value, place = _text(cells.get(key.column)), f"the column {key.column!r}"
        elif self._pattern is not None:
            match = self._pattern.search(image)
            value, place = match.group(1) if match else "", f"the pattern {key.pattern!r}"
        else:
            name = image.rpartition("/")[2]
            listed = key.image_value.format(image=image, image_name=name, image_stem=os.path.splitext(name)[0])
            value, place = self._table.get(listed, ""), f"{key.table} with {key.image_column} {listed!r}"
            if not value and key.unlisted == "own":
                return name
        if not value:
            raise DataError(where, f"{place} gives no patient for {image}", "a patient", "correct patient in the card")
        return value


def _text(value: object) -> str:
    """A cell as text; JSON may hold a number, or nothing."""
    return "" if value is None else str(value)


def _read_patients(path: Path, key: PatientKey) -> dict[str, str]:
    """Patient by image as the table writes it."""
    found: dict[str, str] = {}
    for row in read_table(path, path.name, [key.image_column, key.value_column]).rows:
        image, patient = row.cells[key.image_column], row.cells[key.value_column]
        if found.setdefault(image, patient) != patient:
            raise DataError(row.where, f"{image} is of {patient}, before of {found[image]}", "one patient an image")
    return found


class OfficialSplits:
    """The published side of an image, None where there is none.

    Args:
        card: of the dataset.
        data_root: folder that the lists must stand in.
        folder: the dataset's folder.

    Raises:
        CardError: a list is outside ``data_root``.
        DataError: a list is missing or empty, or an image is in the lists of two sides.
    """

    def __init__(self, card: Card, data_root: Path, folder: Path):
        source = card.splits
        self._column = source.column if source else None
        self._pattern = re.compile(source.pattern) if source and source.pattern else None
        self._values = {value: side for side, values in source.values.items() for value in values} if source else {}
        self._listed: dict[str, Split] | None = None
        if source and source.lists:
            self._listed = {}
            for side, name in source.lists.items():
                path = file_of_card(folder, name, data_root, f"{card.file}: splits.lists.{side.value}")
                self._read_list(path, name, side)

    def _read_list(self, path: Path, name: str, side: Split) -> None:
        for number, line in enumerate(read_text(path, name).splitlines(), start=1):
            image = line.strip()
            if image and self._listed.setdefault(image, side) != side:
                found = f"{image} is also in the list of {self._listed[image].value}"
                raise DataError(f"{name} row {number}", found, "each image on one side", "correct the lists")

    def side(self, image: str, cells: Mapping[str, object], where: str) -> Split | None:
        """The official side of an image; lists may name it by its path, by the end of its path or by its file name.

        Raises:
            DataError: column or path hold a value that the card does not name.
        """
        if self._listed is not None:
            parts = image.split("/")
            ends = ("/".join(parts[first:]) for first in range(len(parts)))
            return next((self._listed[end] for end in ends if end in self._listed), None)
        if self._pattern is not None:
            match = self._pattern.search(image)
            value, place = match.group(1) if match else "", "the side in the path"
        elif self._column is not None:
            value, place = _text(cells.get(self._column)), self._column
        else:
            return None
        if value and value not in self._values:
            expected = f"one of {', '.join(self._values)}"
            raise DataError(where, f"{place} is {value!r}", expected, "add the value to splits.values")
        return self._values.get(value)
