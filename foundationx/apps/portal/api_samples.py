"""A few radiographs of a dataset, from the data root, for its page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response

from foundationx.apps.portal.answers import Route
from foundationx.apps.portal.context import Portal
from foundationx.apps.portal.place import UnknownError
from foundationx.core.errors import DataError, FoundationXError
from foundationx.core.types import Annotations, annotated_tasks
from foundationx.data.pixels.read import read_grey
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.location import dataset_folder

COUNT = 6
"""Images of a dataset that are shown."""

SIDE = 256
"""Pixels of the longer side of a shown image."""

MOST_TABLES = 64 * 2**20
"""Bytes of a dataset's annotation files: reading larger ones for a few pictures takes too long."""

MOST_IMAGE = 64 * 2**20
"""Bytes of one image file."""

MOST_LABELS = 12
"""Classes that are named beside an image."""


@dataclass(frozen=True)
class Sample:
    """An image of a dataset.

    Attributes:
        name: File as in the annotations.
        path: The file.
        labels: Classes that its annotations say are there.
    """

    name: str
    path: Path
    labels: tuple[str, ...]


def router(portal: Portal) -> APIRouter:
    """The paths of sample images."""
    routes = APIRouter(prefix="/api", route_class=Route)

    @lru_cache(maxsize=64)
    def chosen(name: str, stamp: float) -> tuple[Sample, ...]:
        return samples_of(portal.catalog.card(name), portal.place.data_root)

    def samples(name: str) -> tuple[Sample, ...]:
        card = portal.catalog.card(name)
        folder = portal.place.data_root / card.root
        with portal.reading:
            return chosen(name, folder.stat().st_mtime if folder.is_dir() else 0.0)

    @routes.get("/disk")
    def on_disk() -> dict[str, Any]:
        """The data root, and the cards whose folder is there."""
        root = portal.place.data_root
        names = [name for name, card in portal.catalog.valid().items() if (root / card.root).is_dir()]
        return {"data_root": str(root), "work_dirs": str(portal.place.work_dirs), "cards": names}

    @routes.get("/samples/{name}")
    def listed(name: str) -> dict[str, Any]:
        """The images, each with its address; none if the data root does not hold the dataset."""
        try:
            found, why = samples(name), ""
        except DataError as error:
            found, why = (), f"{error.where}: {error.found}"
        images = [
            {"url": f"/api/samples/{name}/{index}.png", "name": sample.name, "labels": sample.labels}
            for index, sample in enumerate(found)
        ]
        return {"images": images, "why": why}

    @routes.get("/samples/{name}/{index}.png")
    def picture(name: str, index: int) -> Response:
        """One image, small."""
        found = samples(name)
        if not 0 <= index < len(found):
            raise UnknownError(name, f"there is no sample {index}", f"{len(found)} samples", "choose one from the list")
        with portal.reading:
            return Response(small_png(found[index].path), media_type="image/png")

    return routes


def samples_of(card: Card, data_root: Path) -> tuple[Sample, ...]:
    """Images of a dataset, evenly spaced over the first of its tasks whose annotations are there.

    Args:
        card: Card of the dataset.
        data_root: Folder of all datasets.

    Raises:
        DataError: The dataset is not there, its annotation files are too large, or none of them can be read.
    """
    if not (data_root / card.root).is_dir():
        raise DataError(card.name, f"is not in {data_root}", "its files", "download it")
    folder, why = dataset_folder(card, data_root), "has no annotated task"
    for task in (task for task in annotated_tasks() if task in card.tasks):
        files = [folder / part.file for part in card.tasks[task].files if part.file]
        size = sum(path.stat().st_size for path in files if path.is_file())
        if size > MOST_TABLES:
            why = f"its annotation files have {size:,} bytes; up to {MOST_TABLES:,} are read for samples"
            continue
        try:
            return _spread(read_annotations(card, task, data_root, on_bad_sample="skip"), folder)
        except FoundationXError as error:
            why = f"{error.where}: {error.found}"
    raise DataError(card.name, why, "annotations that can be read", f"foundationx data check {card.name}")


def _spread(table: Annotations, folder: Path) -> tuple[Sample, ...]:
    """Images evenly spaced over a table."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(COUNT, len(table))).astype(int)) if len(table) else []
    return tuple(Sample(table.images[row], folder / table.images[row], _labels(table, int(row))) for row in rows)


def _labels(table: Annotations, row: int) -> tuple[str, ...]:
    """Classes that an image has by its annotations; of boxes and masks, those that are drawn in it."""
    present = np.asarray(table.labels)[row] == 1
    return tuple(name for name, here in zip(table.classes, present, strict=True) if here)[:MOST_LABELS]


def small_png(path: Path) -> bytes:
    """An image as a small PNG. Raises DataError."""
    if path.is_file() and path.stat().st_size > MOST_IMAGE:
        raise DataError(str(path), f"has more than {MOST_IMAGE:,} bytes", "an image for a page")
    image = read_grey(path)
    scale = min(1.0, SIDE / max(image.shape))
    height, width = (max(1, round(length * scale)) for length in image.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".png", small)[1].tobytes())
