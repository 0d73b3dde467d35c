"""Masks in the report and in ``predict``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from foundationx.core.geometry.outlines import mask_outlines
from foundationx.core.types import UNKNOWN_PIXEL
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay, colour_of, css_of
from foundationx.tasks.segmentation.prediction import SegmentationExample, SegmentationPrediction


def draw(canvas: Canvas, example: SegmentationExample) -> None:
    """True masks tinted with a solid edge, predicted ones as dashed outlines, unknown pixels striped."""
    pixels = canvas.pixels
    size = (pixels.shape[1], pixels.shape[0])
    rows, columns = np.indices(pixels.shape[:2])
    stripes = (rows + columns) % 8 < 2
    for index, (truth, predicted) in enumerate(zip(example.masks, example.pred_masks, strict=True)):
        colour = colour_of(index)
        large = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        inside = large == 1
        pixels[inside] = (0.78 * pixels[inside] + 0.22 * np.array(colour)).astype(np.uint8)
        if (large != UNKNOWN_PIXEL).any():  # a class that was not annotated at all is named in words, not striped
            pixels[(large == UNKNOWN_PIXEL) & stripes] = colour
        for outline in _outlines(inside):
            cv2.polylines(pixels, [outline], True, colour, 2, cv2.LINE_AA)
        for outline in _outlines(cv2.resize(predicted, size, interpolation=cv2.INTER_NEAREST) == 1):
            canvas.dashed(outline[:, 0], colour)


def findings(example: SegmentationExample, classes: Sequence[str]) -> list[ClassSummary]:
    """Classes that are drawn, with their Dice if the truth is known; the others are only counted."""
    rows, absent, unknown = [], 0, 0
    for k, (name, truth, predicted) in enumerate(zip(classes, example.masks, example.pred_masks, strict=True)):
        known = truth != UNKNOWN_PIXEL
        true, hit = (truth == 1) & known, (predicted == 1) & known
        total = int(true.sum() + hit.sum())
        dice = 2 * int((true & hit).sum()) / total if total else None
        if total or predicted.any():
            words = "unknown" if dice is None else f"Dice {dice:.2f}"
            rows.append(ClassSummary(name, bool(true.any()) if known.any() else None, words, dice, css_of(k)))
        else:
            absent += int(known.any())
            unknown += int(not known.any())
    rows.sort(key=lambda row: not row.true)
    rows += [ClassSummary(_classes(absent), False, "neither true nor found", None, None)] if absent else []
    rows += [ClassSummary(_classes(unknown), None, "unknown", None, None)] if unknown else []
    return rows


def describe(
    prediction: SegmentationPrediction, classes: Sequence[str], size: tuple[int, int], overlay: Overlay
) -> list[dict[str, Any]]:
    """Share of the image that each mask covers, with its outlines as polygons in pixels of the source image.

    Polygons run along the edges of the pixels, as in COCO; holes are left out.
    """
    rows = []
    for index, name in enumerate(classes):
        probability = cv2.resize(prediction.masks[0, index].cpu().numpy(), (size[1], size[0]))
        mask = (probability >= 0.5).astype(np.uint8)
        polygons = [outline.astype(int).tolist() for outline in mask_outlines(mask)]
        overlay.mask(mask, name, index, f"{mask.mean():.1%} of the image")
        rows.append({"class": name, "share_of_image": round(float(mask.mean()), 4), "polygons": polygons})
    return rows


def _outlines(mask: np.ndarray) -> Sequence[np.ndarray]:
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"
