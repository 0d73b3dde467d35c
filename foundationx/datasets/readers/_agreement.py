"""Several readers of one image: what they agree on is known, what they dispute is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Agreement = Literal["any", "majority", "all"]


def votes_needed(agreement: Agreement, readers: int) -> int:
    """How many of ``readers`` must say so: one, more than half, or all."""
    return {"any": 1, "majority": readers // 2 + 1, "all": readers}[agreement]


def agreed_labels(labels: np.ndarray, agreement: Agreement) -> np.ndarray:
    """Labels of one image from those of its readers.

    Args:
        labels: (readers, K), tri-state.
        agreement: how many readers make a class present; a reader to whom it is unknown has no vote.

    Returns:
        (K,): 1 where enough readers say present, 0 where none does, unknown where some do but too few, or where no
        reader knows.
    """
    known = (~np.isnan(labels)).sum(axis=0)
    present = (np.nan_to_num(labels, nan=0.0) >= 0.5).sum(axis=0)
    needed = np.array([votes_needed(agreement, int(count)) for count in known])
    result = np.where(present >= needed, 1.0, np.where(present == 0, 0.0, np.nan))
    return np.where(known == 0, np.nan, result).astype(np.float32)


def agreed_boxes(
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    readers: Sequence[str],
    votes: int,
    iou: float,
) -> tuple[list[list[float]], list[int], set[int]]:
    """One box for each object that enough readers marked.

    Boxes of one class that overlap belong to one object, at most one of each reader; the object's box is their mean
    (weighted box fusion with equal weights). Boxes are taken in the given order, each to the object that it overlaps
    most.

    Args:
        boxes: n boxes x1 y1 x2 y2.
        classes: n class indices.
        readers: n names of readers.
        votes: readers that an object needs.
        iou: least intersection over union of a box with an object's box, in (0, 1].

    Returns:
        Boxes, their classes, and the classes of objects with too few votes.
    """
    objects: list[_Object] = []
    for box, kind, reader in zip(boxes, classes, readers, strict=True):
        fitting = [item for item in objects if item.kind == kind and reader not in item.readers]
        best = max(fitting, key=lambda item: _iou(item.box, box), default=None)
        if best is None or _iou(best.box, box) < iou:
            objects.append(_Object(kind, box, reader))
        else:
            best.add(box, reader)
    kept = [item for item in objects if len(item.readers) >= votes]
    disputed = {item.kind for item in objects if len(item.readers) < votes}
    return [item.box for item in kept], [item.kind for item in kept], disputed


class _Object:
    """Boxes of different readers around one thing."""

    def __init__(self, kind: int, box: Sequence[float], reader: str):
        self.kind, self.box, self.readers = kind, list(box), {reader}

    def add(self, box: Sequence[float], reader: str) -> None:
        count = len(self.readers)
        self.box = [(old * count + new) / (count + 1) for old, new in zip(self.box, box, strict=True)]
        self.readers.add(reader)


def _iou(one: Sequence[float], two: Sequence[float]) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (two[2] - two[0]) * (two[3] - two[1])
    return shared / (areas - shared)
