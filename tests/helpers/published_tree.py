"""The download of a card as its publisher packs it, in images of a few pixels, held against the card."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foundationx.core.types import Annotations, Task
from foundationx.curation.check.report import CheckReport
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import Severity
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card, Expected
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.cards.tasks import TaskExpected
from tests.helpers.layouts.images import place, write_dicom, write_image, write_json, write_jsrt, write_rows

CATALOG = Catalog(default_folders()[:1])

STRAY = ("Thumbs.db", ".DS_Store", "._image.png", "desktop.ini")
"""Files that archives and file managers leave in folders of images."""


@cache
def _pixels(name: str, height: int, width: int) -> np.ndarray:
    """Noise that depends on the name, so that no two images hold the same bytes."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (height, width), dtype=np.uint8)


def write_pair(path: Path, values: np.ndarray) -> None:
    """A MetaImage as a header (``.mhd``) beside its pixels (``.raw``)."""
    height, width = values.shape
    header = f"ObjectType = Image\nNDims = 2\nBinaryData = True\nDimSize = {width} {height}\nElementType = MET_UCHAR\n"
    place(path).write_text(f"{header}ElementDataFile = {path.with_suffix('.raw').name}\n")
    path.with_suffix(".raw").write_bytes(values.tobytes())


class PublishedTree:
    """A data root with the download of one card.

    Args:
        data_root: Folder of all datasets.
        card: Name of a card of the registry.
        top: Folder that the archive unpacks to, inside the card's folder.
    """

    def __init__(self, data_root: Path, card: str, top: str = ""):
        self.data_root, self.card = data_root, CATALOG.card(card)
        self.path = data_root / self.card.root / top
        self.path.mkdir(parents=True, exist_ok=True)

    def images(self, names: Iterable[str], height: int = 24, width: int = 32) -> None:
        """Images in the format that the name's end says; DICOM if it has none."""
        for name in names:
            values, path = _pixels(name, height, width), self.path / name
            if path.suffix in (".png", ".jpg", ".jpeg", ".tif"):
                write_image(path, values)
            elif path.suffix == ".IMG":
                write_jsrt(path, values)
            elif path.suffix == ".mhd":
                write_pair(path, values)
            else:
                write_dicom(path, values)

    def masks(self, names: Iterable[str], height: int = 24, width: int = 32) -> None:
        """Masks of 0 and 255."""
        for name in names:
            values = np.where(_pixels(name, height, width) > 127, 255, 0).astype(np.uint8)
            (write_pair if name.endswith(".mhd") else write_image)(self.path / name, values)

    def gif(self, name: str, side: int) -> None:
        """A square mask of 0 and 255 in the format of SCR."""
        values = np.where(_pixels(name, 16, 16) > 127, 255, 0).astype(np.uint8)
        grown = np.kron(values, np.ones((side // 16, side // 16), np.uint8))
        Image.fromarray(grown).save(place(self.path / name))

    def stray(self, *folders: str) -> None:
        """The files of ``STRAY`` in each folder, and a ``__MACOSX`` folder beside the first."""
        for folder in folders:
            for name in STRAY:
                place(self.path / folder / name).write_bytes(b"\0\0\0\1Bud1")
        if folders:
            place(self.path / "__MACOSX" / folders[0] / "._a.png").write_bytes(b"\0\5\26\7")

    def table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
        """A CSV file; packed if its name ends in ``.gz``."""
        write_rows(self.path / name, [header, *rows], delimiter)

    def text(self, name: str, text: str) -> None:
        place(self.path / name).write_text(text, encoding="utf-8")

    def json(self, name: str, content: Any) -> None:
        write_json(self.path / name, content)

    def read(self, task: str) -> Annotations:
        return read_annotations(self.card, Task(task), self.data_root)

    def check(
        self, counts: dict[str, Any] | None = None, tasks: dict[str, dict[str, Any]] | None = None
    ) -> CheckReport:
        """The report of ``data check``, with no fault in it.

        Args:
            counts: Counts of this tree in place of the published ones, if it is smaller than the download. It gives
                every count that the card gives. None: the tree has all images, and the published counts apply.
            tasks: The same by task.
        """
        card = self.card if counts is None and tasks is None else _scaled(self.card, counts or {}, tasks or {})
        report = check_card(card, self.data_root, fast=True)
        faults = [issue for issue in report.issues if issue.severity is Severity.FAULT]
        assert not faults, "\n".join(f"{issue.where}: {issue.found}" for issue in faults[:5])
        return report


def _scaled(card: Card, counts: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> Card:
    """The card with the counts of a smaller tree. Fails if a count is missing that the card gives."""
    expected = Expected.model_validate(counts)
    assert _given(expected) >= _given(card.expected) - {"valid_images"}, "counts of the tree are missing"
    sources = {}
    for task, source in card.tasks.items():
        scaled = TaskExpected.model_validate(tasks.get(task.value, {}))
        assert _given(scaled) >= _given(source.expected), f"counts of {task.value} are missing"
        sources[task] = source.model_copy(update={"expected": scaled})
    smaller = card.model_copy(update={"expected": expected, "tasks": sources})
    smaller._file = card._file
    return smaller


def _given(expected: Expected | TaskExpected) -> set[str]:
    """Names of the counts that are given."""
    return {name for name, value in expected.model_dump().items() if value not in (None, {})}
