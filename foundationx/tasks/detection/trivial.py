"""What one would mark in an image without looking at it: the mean training box of every class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.core.arrays import AnyArray, Ragged, Recorded
from foundationx.tasks.detection import record
from foundationx.tasks.detection.target import DetectionBatch


def learn(batches: Iterable[DetectionBatch], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The mean training box of every class, corner by corner; a class without boxes is left out.

    Returns:
        By class ``box``: x1 y1 x2 y2 as shares of the image, the mean over all boxes; ``score``: share of the images
        with a known label that hold a box.
    """
    boxes: dict[int, list[AnyArray]] = {k: [] for k in range(len(classes))}
    holding, known = np.zeros(len(classes)), np.zeros(len(classes))
    for batch in batches:
        for index in range(len(batch)):
            corners, own = record.true_boxes(batch, index)
            for k in np.unique(own).tolist():
                boxes[k] += list(corners[own == k])
                holding[k] += 1
        known += (~np.isnan(batch.labels.numpy())).sum(axis=0)
    return {
        name: {
            "box": np.mean(boxes[k], axis=0, dtype=float).tolist(),
            "score": float(min(1.0, holding[k] / max(known[k], 1.0))),
        }
        for k, name in enumerate(classes)
        if boxes[k]
    }


def answer(learned: Mapping[str, Mapping[str, Any]], classes: Sequence[str], sizes: AnyArray) -> dict[str, Recorded]:
    """``boxes``, ``scores``, ``box_classes``: one box per class, in pixels of each image of ``sizes`` (N, 2)."""
    held = [k for k, name in enumerate(classes) if name in learned]
    shares = np.array([learned[classes[k]]["box"] for k in held], dtype=np.float32).reshape(-1, 4)
    scores = np.array([learned[classes[k]]["score"] for k in held], dtype=np.float32)
    counts = np.full(len(sizes), len(held), dtype=np.int64)
    scale = np.asarray(sizes, dtype=np.float32)[:, [1, 0, 1, 0]]
    return {
        "boxes": Ragged((shares * scale[:, None]).reshape(-1, 4), counts),
        "scores": Ragged(np.tile(scores, len(sizes)), counts),
        "box_classes": Ragged(np.tile(np.array(held, dtype=np.int64), len(sizes)), counts),
    }
