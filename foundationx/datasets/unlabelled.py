"""Images of a dataset without labels, for self-supervision: the union over all tasks of its card."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.splits import STRICTEST


def read_images(
    card: Card,
    task: Task,
    data_root: Path,
    *,
    root: str | None = None,
    on_bad_sample: Literal["raise", "skip"] = "raise",
) -> Annotations:
    """Every image of any task of a card, once, with its patient and without classes.

    An image with several official splits is in the strictest. Images with unknown labels are included. An image that is
    invalid in one task but not in another is used, since only its annotation is invalid.

    Args:
        card: Card of the dataset.
        task: Task that learns from images alone.
        data_root: Folder of all datasets.
        root: Folder of the dataset under ``data_root``; None: that of the card.
        on_bad_sample: ``raise`` or ``skip``, as in ``read_annotations``.

    Raises:
        CardError: As ``read_annotations``.
        DataError: As ``read_annotations``.
    """
    tables = [read_annotations(card, other, data_root, root=root, on_bad_sample=on_bad_sample) for other in card.tasks]
    merged: dict[str, tuple[str, str, Split | None]] = {}
    for table in tables:
        for image, patient, row, split in zip(table.images, table.patients, table.rows, table.splits, strict=True):
            first_patient, first_row, earlier = merged.get(image, (patient, row, None))
            splits = [one for one in (split, earlier) if one is not None]
            merged[image] = (first_patient, first_row, min(splits, key=STRICTEST.index, default=None))
    bad = {entry.file: entry for table in tables for entry in table.bad if entry.file not in merged}
    return Annotations(
        key=TaskKey(card.name, task),
        classes=(),
        images=list(merged),
        patients=[patient for patient, _, _ in merged.values()],
        rows=[row for _, row, _ in merged.values()],
        labels=np.zeros((len(merged), 0), dtype=np.float32),
        splits=[split for _, _, split in merged.values()],
        bad=list(bad.values()),
    )
