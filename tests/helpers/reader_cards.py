"""Small cards and folders for tests of the readers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card


def card_values(reader: str, classes: Iterable[Any], task: str = "classification", **source: Any) -> dict[str, Any]:
    """The values of a smallest card with one task."""
    return {
        "name": "tiny",
        "title": "Tiny",
        "licence": {"name": "none", "redistribution": "unknown", "commercial": "unknown"},
        "access": "generated",
        "root": "tiny",
        "tasks": {task: {"reader": reader, "classes": list(classes), **source}},
    }


def make_card(reader: str, classes: Iterable[Any], task: str = "classification", **source: Any) -> Card:
    further = {key: source.pop(key) for key in ("patient", "splits") if key in source}
    return Card.model_validate(card_values(reader, classes, task, **source) | further)


class Folder:
    """A data root with one dataset folder ``tiny``; images are empty files, because readers decode no pixel."""

    def __init__(self, data_root: Path):
        self.data_root = data_root
        self.path = data_root / "tiny"
        self.path.mkdir()

    def files(self, *names: str) -> None:
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).touch()

    def write(self, name: str, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")

    def read(self, card: Card, skip: bool = False) -> Annotations:
        (task,) = card.tasks
        return read_annotations(card, Task(task), self.data_root, on_bad_sample="skip" if skip else "raise")


def fault(folder: Folder, card: Card, skip: bool = False) -> DataError:
    """The error that reading the card raises; the test fails where it raises none."""
    with pytest.raises(DataError) as caught:
        folder.read(card, skip)
    return caught.value
