"""Boxes in the report and in ``predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.tasks.detection.prediction import DetectionExample, DetectionPrediction
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay, colour_of, css_of, is_present


def draw(canvas: Canvas, example: DetectionExample) -> None:
    """True boxes solid, predicted ones dashed with their score in a corner."""
    for box, label in zip(example.boxes, example.box_classes, strict=True):
        canvas.box(box, colour_of(label))
    for box, label, score in zip(example.pred_boxes, example.pred_classes, example.pred_scores, strict=True):
        canvas.dashed_box(box, f"{score:.2f}", colour_of(label))


def findings(example: DetectionExample, classes: Sequence[str]) -> list[ClassSummary]:
    """Number of true and drawn boxes of each class, with the best scores."""
    rows = []
    for k, name in enumerate(classes):
        true, scores = int((example.box_classes == k).sum()), example.pred_scores[example.pred_classes == k]
        if true or len(scores):
            best = f" ({', '.join(f'{score:.2f}' for score in scores[:3])})" if len(scores) else ""
            words = f"{true} true, {len(scores)} drawn{best}"
            rows.append(ClassSummary(name, is_present(example.labels, k), words, None, css_of(k)))
    return rows


def describe(
    prediction: DetectionPrediction,
    classes: Sequence[str],
    size: tuple[int, int],
    thresholds: Mapping[str, float],
    overlay: Overlay,
) -> list[dict[str, Any]]:
    """Boxes of at least the class's threshold, x1 y1 x2 y2 in pixels of the source image."""
    height, width = size
    scale = np.array([width, height, width, height])
    rows = []
    kept = prediction.kept[0]
    for box, score, label in zip(
        prediction.relative_boxes[0][kept].tolist(),
        prediction.scores[0][kept].tolist(),
        prediction.box_classes[0][kept].tolist(),
        strict=True,
    ):
        name = classes[label]
        if score >= thresholds[name]:
            corners = np.round(np.clip(box, 0, 1) * scale, 1)
            overlay.box(corners, f"{name} (from {thresholds[name]:.2f})", label, f"{score:.2f}")
            rows.append({"class": name, "score": round(score, 4), "box": corners.tolist()})
    return rows
