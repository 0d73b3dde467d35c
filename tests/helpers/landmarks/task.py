"""Points in an image, one per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundationx.core.types import Batch, Example, Prediction
from foundationx.tasks.definition import TaskDefinition
from foundationx.tasks.drawing import ClassSummary, colour_of, css_of


@dataclass(frozen=True)
class Points:
    """Points (K, 2) float32 x y in pixels; NaN if a class has none here."""

    points: np.ndarray

    def resized(self, size, side):
        height, width = size
        return Points(self.points * np.array([side / width, side / height], np.float32))

    def moved(self, move):
        points = move.points(self.points)
        outside = ((points < 0) | (points > move.size)).any(axis=1, keepdims=True)
        return Points(np.where(outside, np.float32(np.nan), points))


@dataclass(slots=True, kw_only=True)
class LandmarksBatch(Batch):
    """Points (B, K, 2) as shares of the image, NaN if unknown."""

    points: Tensor


@dataclass(slots=True)
class LandmarksPrediction(Prediction):
    """Points (B, K, 2) as shares of the image."""

    points: Tensor


@dataclass(slots=True, kw_only=True)
class LandmarksExample(Example):
    """True and predicted points (K, 2) in pixels of the image."""

    points: np.ndarray
    predicted: np.ndarray


class LandmarksTask(TaskDefinition):
    """One point per class."""

    name = "landmarks"
    noun = "point"
    headline = "MRE"
    part = "points"
    legend = "Disc: true, cross: predicted."

    def annotation(self, parts: Mapping[str, Any]) -> Points:
        return Points(np.asarray(parts["points"], dtype=np.float32))

    def count(self, annotation: Points) -> int:
        return int(np.isfinite(annotation.points).all(axis=1).sum())

    def target(self, annotation: Points, source) -> Points:
        height, width = source.size
        if (annotation.points < 0).any() or (annotation.points > [width, height]).any():
            raise source.outside("a point")
        return annotation

    def batch(self, common: Mapping[str, Any], targets: Sequence[Points], size: tuple[int, int]) -> LandmarksBatch:
        height, width = size
        points = np.stack([target.points for target in targets]) / np.array([width, height], np.float32)
        return LandmarksBatch(**common, points=torch.from_numpy(points))

    def record_truth(self, batch: LandmarksBatch) -> dict[str, np.ndarray]:
        return {"true_points": batch.points.numpy() * _sizes(batch)}

    def record_prediction(self, prediction: LandmarksPrediction, batch: LandmarksBatch) -> dict[str, np.ndarray]:
        return {"points": prediction.points.float().numpy() * _sizes(batch)}

    def example_class(self) -> type[LandmarksExample]:
        return LandmarksExample

    def example(self, prediction: LandmarksPrediction, batch: LandmarksBatch, index: int) -> LandmarksExample:
        image = batch.images[index, 0].numpy()
        scale = np.array(image.shape[::-1], np.float32)
        return LandmarksExample(
            image=image,
            name=batch.metas[index].image,
            labels=batch.labels[index].numpy(),
            points=batch.points[index].numpy() * scale,
            predicted=prediction.points[index].float().numpy() * scale,
        )

    def draw(self, canvas, example: LandmarksExample) -> None:
        for k, (true, predicted) in enumerate(zip(example.points, example.predicted, strict=True)):
            if np.isfinite(true).all():
                canvas.mark(true, colour_of(k), solid=True)
            canvas.mark(predicted, colour_of(k), solid=False)

    def findings(self, example: LandmarksExample, classes: Sequence[str]) -> list[ClassSummary]:
        off = np.linalg.norm(example.points - example.predicted, axis=1)
        return [
            ClassSummary(name, bool(np.isfinite(off[k])), f"off by {off[k]:.1f} pixels", None, css_of(k))
            for k, name in enumerate(classes)
        ]

    def describe(
        self, prediction: LandmarksPrediction, classes, size, thresholds, overlay, head
    ) -> list[dict[str, Any]]:
        height, width = size
        rows = []
        for k, name in enumerate(classes):
            point = np.round(prediction.points[0, k].cpu().numpy() * [width, height], 1).tolist()
            overlay.point(point, name, k)
            rows.append({"class": name, "point": point})
        return rows


def _sizes(batch: Batch) -> np.ndarray:
    """(B, 1, 2) width and height of the source images in pixels."""
    return np.array([[(meta.width, meta.height)] for meta in batch.metas], np.float32)
