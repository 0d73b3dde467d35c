"""Points in the report and in ``predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.core.geometry.point_groups import OTHERS, Group, groups_of
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay, colour_of, css_of
from foundationx.tasks.keypoints.prediction import KeypointsExample, KeypointsPrediction

FOUND = 0.5
"""Visibility from which on a point counts as predicted in the report."""


def draw(canvas: Canvas, example: KeypointsExample) -> None:
    """True points as discs, predicted ones as crosses in the same colour."""
    for k, (true, predicted) in enumerate(zip(example.points, example.pred_points, strict=True)):
        if np.isfinite(true).all():
            canvas.mark(true, colour_of(k), solid=True)
        if example.visibilities[k] >= FOUND:
            canvas.mark(predicted, colour_of(k), solid=False)


def findings(example: KeypointsExample, classes: Sequence[str]) -> list[ClassSummary]:
    """How far each point is off; a group of points is one line, with the mean."""
    rows = []
    for group in groups_of(classes):
        if group.name == OTHERS:
            rows += [_summary(example, classes[k], (k,)) for k in group.indices]
        else:
            rows.append(_summary(example, group.name, group.indices))
    return rows


def _summary(example: KeypointsExample, name: str, indices: Sequence[int]) -> ClassSummary:
    own = list(indices)
    visible, share = example.visible[own], float(example.visibilities[own].mean())
    off = np.linalg.norm(example.points[own] - example.pred_points[own], axis=1)
    off = off[np.isfinite(off)]
    words = f"visible {share:.2f}"
    if len(off):
        words = f"off by {off.mean() / max(example.image.shape):.1%} of the side, {words}"
    true = bool((visible >= 0.5).any()) if np.isfinite(visible).any() else None
    return ClassSummary(name, true, words, None, css_of(own[0]))


def describe(
    prediction: KeypointsPrediction,
    classes: Sequence[str],
    size: tuple[int, int],
    thresholds: Mapping[str, float],
    overlay: Overlay,
) -> list[dict[str, Any]]:
    """Points of at least the class's threshold, x y in pixels of the source image."""
    height, width = size
    points = np.round(np.clip(prediction.relative_points[0].float().cpu().numpy(), 0, 1) * [width, height], 1)
    scores = prediction.visibilities[0].float().cpu().numpy()
    found = [k for k, name in enumerate(classes) if scores[k] >= thresholds[name]]
    for group in groups_of(classes):
        _draw_group(overlay, group, [k for k in group.indices if k in found], points, classes)
    return [{"class": classes[k], "score": round(float(scores[k]), 4), "point": points[k].tolist()} for k in found]


def _draw_group(
    overlay: Overlay, group: Group, found: Sequence[int], points: np.ndarray, classes: Sequence[str]
) -> None:
    """Crosses with their names; of numbered points the line through those that were found."""
    if group.is_line and group.name != OTHERS:
        overlay.polyline(points[list(found)], group.name, group.indices[0])
        return
    for k in found:
        overlay.point(points[k], classes[k], k)
