"""Evaluated images with what is true (solid) and what was predicted (dashed)."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from foundationx.types import UNKNOWN_PIXEL, Example
from foundationx.watch.overlay import COLOURS

SIDE = 320
"""Width of a picture in pixels."""

_DASH = 6


def picture(example: Example, classes: Sequence[str]) -> str:
    """The example as a PNG data address."""
    scale = SIDE / example.image.shape[1]
    size = (SIDE, round(example.image.shape[0] * scale))
    canvas = cv2.cvtColor(cv2.resize(example.image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
    if example.masks is not None:
        _masks(canvas, example)
    if example.boxes is not None:
        _boxes(canvas, example, scale)
    _, encoded = cv2.imencode(".png", canvas[:, :, ::-1])
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def caption(example: Example, classes: Sequence[str], threshold: float = 0.5) -> str:
    """What is true and what was predicted, in words."""
    truth = [name for name, label in zip(classes, example.labels, strict=True) if label >= 0.5]
    if example.probabilities is not None:
        order = np.argsort(-example.probabilities)[:3]
        found = [f"{classes[k]} {example.probabilities[k]:.2f}" for k in order]
        return f"true: {', '.join(truth) or 'none'}; predicted: {', '.join(found)}"
    if example.boxes is not None:
        pairs = zip(example.pred_classes, example.pred_scores, strict=True)
        found = [f"{classes[k]} {score:.2f}" for k, score in pairs]
        names = [classes[k] for k in example.box_classes]
        return f"true: {', '.join(names) or 'none'}; predicted: {', '.join(found[:5]) or 'none'}"
    shares = []
    for name, truth_mask, predicted in zip(classes, example.masks, example.pred_masks, strict=True):
        known = truth_mask != UNKNOWN_PIXEL
        total = (truth_mask[known] == 1).sum() + predicted[known].sum()
        if known.any() and total:
            overlap = ((truth_mask == 1) & (predicted == 1) & known).sum()
            shares.append(f"{name} {2 * overlap / total:.2f}")
    return "Dice: " + (", ".join(shares) or "nothing to see")


def _boxes(canvas: np.ndarray, example: Example, scale: float) -> None:
    for box, label in zip(example.boxes, example.box_classes, strict=True):
        x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), COLOURS[label % len(COLOURS)], 2, cv2.LINE_AA)
    for box, label in zip(example.pred_boxes, example.pred_classes, strict=True):
        x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        _dashed(canvas, corners, COLOURS[label % len(COLOURS)])


def _masks(canvas: np.ndarray, example: Example) -> None:
    """True masks tinted with a solid edge, predicted ones as dashed outlines, unknown pixels hatched grey."""
    size = (canvas.shape[1], canvas.shape[0])
    for index, (truth, predicted) in enumerate(zip(example.masks, example.pred_masks, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        large = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        inside = large == 1
        canvas[inside] = (0.78 * canvas[inside] + 0.22 * np.array(colour)).astype(np.uint8)
        for outline in _outlines(inside):
            cv2.polylines(canvas, [outline], True, colour, 2, cv2.LINE_AA)
        for outline in _outlines(cv2.resize(predicted, size, interpolation=cv2.INTER_NEAREST) == 1):
            _dashed(canvas, outline[:, 0], colour)


def _outlines(mask: np.ndarray) -> Sequence[np.ndarray]:
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]


def _dashed(canvas: np.ndarray, corners: np.ndarray, colour: tuple[int, int, int]) -> None:
    """A closed line of white and coloured dashes, which shows on any ground."""
    closed = np.vstack([corners, corners[:1]]).astype(float)
    lengths = np.hypot(*np.diff(closed, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.arange(0, along[-1], _DASH)
    points = np.stack([np.interp(steps, along, closed[:, axis]) for axis in (0, 1)], axis=1).round().astype(int)
    for number, (start, end) in enumerate(itertools.pairwise(points)):
        shade = (255, 255, 255) if number % 2 else colour
        cv2.line(canvas, start.tolist(), end.tolist(), shade, 1, cv2.LINE_AA)
