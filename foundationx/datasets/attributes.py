"""Attributes of images (sex, age, view) from the table that the card names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from foundationx.core.errors import CardError
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import listed_name
from foundationx.datasets.readers._tables import read_table


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
    for name in source.files:
        path = Path(os.path.normpath(folder / name))
        if not path.is_relative_to(os.path.normpath(folder)):
            found = f"{name} is outside the dataset's folder"
            raise CardError(f"{card.file}: attributes.files", found, f"a file in {folder}", "correct the path")
        table = read_table(path, name, [source.image_column, *source.columns.values()])
        for row in table.rows:
            cells[row.cells[source.image_column]] = row.cells
    names = [listed_name(image, source.image_value) for image in images]
    return {
        attribute: [cells.get(name, {}).get(column, "") for name in names]
        for attribute, column in source.columns.items()
    }
