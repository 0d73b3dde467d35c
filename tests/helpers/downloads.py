"""Downloads as they look on disk: images that can be decoded, published tables, and the files that nobody wanted."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.core.types import Annotations, Task
from foundationx.curation.check.report import CheckReport
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import Severity
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Expected
from foundationx.datasets.cards.tasks import TaskExpected
from tests.helpers.cards import registry
from tests.helpers.layouts.images import write_dicom, write_image, write_jsrt, write_mha, write_rows

CATALOG = registry()


class Download:
    """The folder of one card below a data root.

    Args:
        data_root: Folder of all datasets.
        card: Name of a card of the registry.
    """

    def __init__(self, data_root: Path, card: str):
        self.data_root, self.card = data_root, CATALOG.card(card)
        self.path = data_root / self.card.root

    def images(self, *names: str, size: tuple[int, int] = (64, 64)) -> None:
        """Writes images (height, width) of drawn values, each another one, in the format of their suffix."""
        for name in names:
            values = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, size, dtype=np.uint8)
            write = {".dcm": write_dicom, ".dicom": write_dicom, ".mha": write_mha, ".IMG": write_jsrt}.get(
                Path(name).suffix, write_image
            )
            write(self.path / name, values)

    def masks(self, *names: str, size: tuple[int, int] = (64, 64)) -> None:
        """Writes masks (height, width) with a rectangle of 255, each another one."""
        for name in names:
            values = np.zeros(size, dtype=np.uint8)
            first = zlib.crc32(name.encode()) % (size[1] // 2)
            values[size[0] // 4 : size[0] // 2, first : first + size[1] // 4] = 255
            write_image(self.path / name, values)

    def text(self, name: str, *lines: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def table(self, name: str, header: str, *rows: list[Any]) -> None:
        """Writes a CSV file, packed if its name ends in ``.gz``; the header is given as its line."""
        write_rows(self.path / name, [header.split(","), *rows])

    def stray(self) -> None:
        """Puts what Windows, macOS and unpacking leave behind into every folder."""
        folders = [self.path, *(folder for folder in self.path.rglob("*") if folder.is_dir())]
        for folder in folders:
            for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
                (folder / name).write_bytes(b"no image")
            for name in [path.name for path in folder.iterdir() if path.suffix in (".png", ".jpg", ".dcm")][:1]:
                (folder / f"._{name}").write_bytes(b"\0\5\26\7")
        beside = self.path / "__MACOSX" / folders[-1].relative_to(self.path)
        beside.mkdir(parents=True)
        (beside / "._image.png").write_bytes(b"\0\5\26\7")

    def read(self, task: str) -> Annotations:
        return read_annotations(self.card, Task(task), self.data_root)

    def check(self, expected: dict[str, Any], tasks: dict[str, dict[str, Any]] | None = None) -> CheckReport:
        """The report of ``data check``, with the card's published counts replaced by those of the small tree."""
        specs = {
            task: spec.model_copy(update={"expected": TaskExpected(**(tasks or {}).get(task.value, {}))})
            for task, spec in self.card.tasks.items()
        }
        card = self.card.model_copy(update={"expected": Expected(**expected), "tasks": specs})
        card._file = self.card.file
        return check_card(card, self.data_root)


def faults(report: CheckReport) -> list[str]:
    """Every fault of a report in one line."""
    return [f"{issue.where}: {issue.found}" for issue in report.issues if issue.severity is Severity.FAULT]
