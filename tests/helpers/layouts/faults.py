"""What a planted fault is, and ways to plant one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.curation.issues import IssueKind, Severity
from tests.helpers.layouts.images import write_image

Plant = Callable[[Path], None]


@dataclass(frozen=True)
class Fault:
    """A fault, and the issue it must give: kind, file, place and a part of the words."""

    name: str
    layout: str
    plant: Plant
    kind: IssueKind
    file: str
    where: str
    found: str
    severity: Severity = Severity.FAULT
    card: tuple[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.layout}-{self.name}"


def replace(file: str, old: str, new: str, count: int = 1) -> Plant:
    """Changes a text file."""

    def plant(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (folder / file).write_text(text.replace(old, new, count))

    return plant


def replace_packed(file: str, old: str, new: str) -> Plant:
    """Changes a packed text file."""

    def plant(folder: Path) -> None:
        text = gzip.decompress((folder / file).read_bytes()).decode()
        assert old in text, f"{file} has no {old!r}"
        (folder / file).write_bytes(gzip.compress(text.replace(old, new, 1).encode()))

    return plant


def append(file: str, text: str) -> Plant:
    return lambda folder: (folder / file).write_text((folder / file).read_text() + text)


def overwrite(file: str, content: bytes) -> Plant:
    return lambda folder: (folder / file).write_bytes(content)


def cut(file: str, share: float = 0.5) -> Plant:
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: int((folder / file).stat().st_size * share)]
    )


def remove(file: str) -> Plant:
    return lambda folder: (folder / file).unlink()


def copy(file: str, other: str) -> Plant:
    return lambda folder: (folder / other).write_bytes((folder / file).read_bytes())


def paint(file: str, value: int, side: int = 48) -> Plant:
    return lambda folder: write_image(folder / file, np.full((side, side), value, np.uint8))


def move_folder(folder_name: str) -> Plant:
    return lambda folder: (folder / folder_name).rename(folder / "elsewhere")


def edit_json(file: str, change: Callable[[Any], Any]) -> Plant:
    def plant(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return plant


def nothing(folder: Path) -> None:
    """Plants nothing: the fault is in the card."""
