"""Several readers per image: what they agree on is known, what they disagree on is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Agreement = Literal["any", "majority", "all"]


def votes_needed(agreement: Agreement, readers: int) -> int:
    """Number of readers who must agree: one, more than half, or all."""
    return {"any": 1, "majority": readers // 2 + 1, "all": readers}[agreement]


def agreed_labels(labels: np.ndarray, agreement: Agreement) -> np.ndarray:
    """Labels of one image from those of its readers.

    Args:
        labels: Labels (readers, K): 1 present, 0 absent, NaN unknown.
        agreement: How many readers make a class present; unknown labels are not counted.

    Returns:
        Labels (K,): 1 if enough readers say present, 0 if none does, and unknown if some but too few do, or if it is
        unknown to all.
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
) -> tuple[Objects, Objects]:
    """One box for each object, apart by whether enough readers marked it.

    Overlapping boxes of one class belong to one object, at most one per reader; the object's box is their mean
    (weighted box fusion with equal weights). Boxes are processed in the given order and join the object that they
    overlap most.

    Args:
        boxes: Boxes (N, 4), x1 y1 x2 y2.
        classes: Class indices (N,).
        readers: Names (N,) of the readers.
        votes: Number of readers required for an object.
        iou: Minimum intersection over union of a box with the box of its object, in (0, 1].

    Returns:
        Objects that enough readers marked, and those that too few did: there, the class is unknown.
    """
    objects: list[_Object] = []
    for box, class_index, reader in zip(boxes, classes, readers, strict=True):
        candidates = [item for item in objects if item.class_index == class_index and reader not in item.readers]
        best = max(candidates, key=lambda item: _iou(item.box, box), default=None)
        if best is None or _iou(best.box, box) < iou:
            objects.append(_Object(class_index, box, reader))
        else:
            best.add(box, reader)
    agreed, disputed = Objects(), Objects()
    for item in objects:
        chosen = agreed if len(item.readers) >= votes else disputed
        chosen.boxes.append(item.box)
        chosen.classes.append(item.class_index)
    return agreed, disputed


@dataclass
class Objects:
    """Objects of one image: boxes (N, 4), x1 y1 x2 y2, and their class indices (N,)."""

    boxes: list[list[float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)


class _Object:
    """Boxes of different readers around one object."""

    def __init__(self, class_index: int, box: Sequence[float], reader: str):
        self.class_index, self.box, self.readers = class_index, list(box), {reader}

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
