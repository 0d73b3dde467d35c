"""The images of a dataset without their labels, for self-supervision: the union over the tasks of its card."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.splits import STRICTEST


def read_images(
    card: Card,
    task: Task,
    data_root: Path,
    *,
    root: str | None = None,
    on_bad_sample: Literal["raise", "skip"] = "raise",
) -> Annotations:
    """Every image that any task of a card names, once, with its patient and without classes.

    An image with several official sides is on the strictest. Images whose labels are unknown count too. One that is
    bad in a task but not in another is used: what is wrong is its annotation.

    Args:
        card: Card of the dataset.
        task: Task that learns from images alone.
        data_root: folder that holds the datasets.
        root: the dataset's folder under it; the card's own where it is None.
        on_bad_sample: as of ``read_annotations``.

    Raises:
        CardError, DataError: as ``read_annotations``.
    """
    tables = [read_annotations(card, own, data_root, root=root, on_bad_sample=on_bad_sample) for own in card.tasks]
    found: dict[str, tuple[str, str, Split | None]] = {}
    for table in tables:
        for image, patient, row, side in zip(table.images, table.patients, table.rows, table.splits, strict=True):
            before = found.get(image)
            strictest = min({side, before[2] if before else None} - {None}, key=STRICTEST.index, default=None)
            found[image] = (*(before[:2] if before else (patient, row)), strictest)
    bad = {entry.file: entry for table in tables for entry in table.bad if entry.file not in found}
    return Annotations(
        key=TaskKey(card.name, task),
        classes=(),
        images=list(found),
        patients=[patient for patient, _, _ in found.values()],
        rows=[row for _, row, _ in found.values()],
        labels=np.zeros((len(found), 0), dtype=np.float32),
        splits=[side for _, _, side in found.values()],
        bad=list(bad.values()),
    )
