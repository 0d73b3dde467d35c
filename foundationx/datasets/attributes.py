"""Attributes of images (sex, age, view) from the table that the card names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from foundationx.core.errors import CardError
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._tables import read_table


def read_attributes(card: Card, folder: Path, images: Iterable[str]) -> dict[str, list[str]]:
    """Each attribute of each image, "" where the table does not say.

    Args:
        card: of the dataset.
        folder: the dataset's folder.
        images: paths relative to it.

    Raises:
        CardError: the card names no attributes, or a file outside the dataset's folder.
        DataError: a file or column is missing.
    """
    source = card.attributes
    if source is None:
        raise CardError(f"{card.file}: attributes", "is not set", "the table of sex, age or view", "add it to the card")
    found: dict[str, dict[str, str]] = {}
    for name in source.files:
        path = Path(os.path.normpath(folder / name))
        if not path.is_relative_to(os.path.normpath(folder)):
            raise CardError(f"{card.file}: attributes.files", f"{name} leads elsewhere", "a file of the dataset")
        table = read_table(path, name, [source.image_column, *source.columns.values()])
        for row in table.rows:
            found[row.cells[source.image_column]] = row.cells
    names = [_as_listed(image, source.image_value) for image in images]
    return {
        attribute: [found.get(name, {}).get(column, "") for name in names]
        for attribute, column in source.columns.items()
    }


def _as_listed(image: str, template: str) -> str:
    name = image.rpartition("/")[2]
    return template.format(image=image, image_name=name, image_stem=os.path.splitext(name)[0])
