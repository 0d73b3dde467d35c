"""Keeps what a model said of every image, batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from foundationx.core.types import UNKNOWN_PIXEL, Batch, Prediction, Split, Task, TaskKey
from foundationx.evaluation.predictions import Masks, Predictions

FOREGROUND = 0.5
"""Probability from which a pixel counts as predicted."""


class Recorder:
    """Collects one head's predictions of one model.

    Args:
        key: dataset and task.
        classes: K names.
    """

    def __init__(self, key: TaskKey, classes: tuple[str, ...]):
        self.key, self.classes = key, classes
        self._parts: list[dict[str, Any]] = []
        self._count = 0

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """One batch, on the host."""
        names = {"images": [meta.image for meta in batch.metas], "patients": [meta.patient for meta in batch.metas]}
        part = {name: np.array(value) for name, value in names.items()} | {"labels": batch.labels.numpy()}
        if self.key.task is Task.CLASSIFICATION:
            part["probabilities"] = prediction.probabilities.float().numpy()
        elif self.key.task is Task.DETECTION:
            part |= _boxes(prediction, batch, self._count)
        else:
            masks = batch.masks.numpy()
            part["predicted_masks"] = Masks.encode(prediction.masks.numpy() >= FOREGROUND)
            part["true_masks"] = Masks.encode(masks == 1)
            part["known_masks"] = Masks.encode(masks != UNKNOWN_PIXEL)
        self._parts.append(part)
        self._count += len(batch)

    def predictions(self, model: str, split: Split, visit: int) -> Predictions | None:
        """All that was added; None where that is nothing (every image was unreadable)."""
        if not self._parts:
            return None
        joined = {}
        for name, first in self._parts[0].items():
            values = [part[name] for part in self._parts]
            joined[name] = Masks.join(values) if isinstance(first, Masks) else np.concatenate(values)
        return Predictions(self.key, model, split, visit, self.classes, **joined)


def _boxes(prediction: Prediction, batch: Batch, first: int) -> dict[str, np.ndarray]:
    """Predicted and true boxes of a batch in pixels of the source; images count on from ``first``."""
    sizes = np.array([(meta.height, meta.width) for meta in batch.metas])
    scale = sizes[:, [1, 0, 1, 0]].astype(np.float32)
    number, queries = prediction.scores.shape
    true = [true_boxes(batch, place) for place in range(number)]
    return {
        "sizes": sizes,
        "boxes": (prediction.boxes.float().numpy() * scale[:, None]).reshape(-1, 4),
        "scores": prediction.scores.float().numpy().reshape(-1),
        "box_classes": prediction.box_classes.numpy().reshape(-1),
        "box_images": np.repeat(np.arange(first, first + number), queries),
        "true_boxes": np.concatenate([boxes * size for (boxes, _), size in zip(true, scale, strict=True)]),
        "true_classes": np.concatenate([classes for _, classes in true]),
        "true_images": np.repeat(np.arange(first, first + number), [len(classes) for _, classes in true]),
    }


def true_boxes(batch: Batch, place: int) -> tuple[np.ndarray, np.ndarray]:
    """True boxes (N, 4) x1 y1 x2 y2 as shares of the image, and their classes (N,), without the padding."""
    classes = batch.box_classes[place].numpy()
    boxes = batch.boxes[place].numpy()[classes >= 0]
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1), classes[classes >= 0]
