"""Attributes of images (sex, age, view) from the table that the card names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.errors import CardError
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import listed_name
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._tables import read_table

AGES = (18, 40, 60, 80)
"""Years at which ages are cut into groups, unless others are chosen."""


def read_attributes(card: Card, folder: Path, images: Iterable[str]) -> dict[str, list[str]]:
    """Each attribute of each image, "" if the table has none.

    Args:
        card: Card of the dataset.
        folder: Folder of the dataset.
        images: Paths of the images, relative to the folder.

    Raises:
        CardError: The card names no attributes, or a file outside the dataset's folder.
        DataError: A file or column is missing.
    """
    source = card.attributes
    if source is None:
        raise CardError(f"{card.file}: attributes", "is not set", "the table of sex, age or view", "add it to the card")
    cells: dict[str, dict[str, str]] = {}
    dataset, where = DatasetFolder(folder, folder), f"{card.file}: attributes.files"
    for given in source.files:
        name = dataset.choose(given, where)
        path = dataset.file(name, where)
        table = read_table(path, name, [source.image_column, *source.columns.values()])
        for row in table.rows:
            cells[row.cells[source.image_column]] = row.cells
    stems = {os.path.splitext(name)[0]: row for name, row in cells.items()}  # a copy may have another suffix
    names = [listed_name(image, source.image_value) for image in images]
    rows = [cells.get(name) or stems.get(os.path.splitext(name)[0]) or {} for name in names]
    return {attribute: [row.get(column, "") for row in rows] for attribute, column in source.columns.items()}


def groups_of(card: Card, folder: Path, images: Iterable[str], ages: Iterable[int] = AGES) -> dict[str, AnyArray]:
    """Group of each image by attribute, (N,) names, "" if unknown.

    Args:
        card: Card of the dataset.
        folder: Folder of the dataset.
        images: Paths of the N images, relative to the folder.
        ages: Years at which ages are cut.

    Raises:
        CardError: The card names no attributes, or a file outside the dataset's folder.
        DataError: A file or column is missing.
    """
    values = read_attributes(card, folder, images)
    return {name: np.array([group_of(name, value, ages) for value in column]) for name, column in values.items()}


def group_of(attribute: str, value: str, ages: Iterable[int] = AGES) -> str:
    """The group of a published value: ages between two limits, everything else as it stands; "" is unknown.

    Args:
        attribute: Name of the attribute.
        value: Value of the table.
        ages: Years at which ages are cut.
    """
    if attribute != "age":
        return value.strip()
    number = re.match(r"\d+", value)  # 057Y, 57, 57.0
    if number is None:
        return ""
    years = int(number.group())
    limits = sorted(ages)
    low = max([limit for limit in limits if limit <= years], default=0)
    high = min([limit for limit in limits if limit > years], default=None)
    return f"{low} to {high - 1}" if high is not None else f"{low} and over"
