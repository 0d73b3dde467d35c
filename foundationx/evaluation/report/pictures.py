"""Evaluated images with what is true (solid) and what was predicted (dashed), and the same in words."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from foundationx.core.types import UNKNOWN_PIXEL, Example
from foundationx.evaluation.report.overlay import COLOURS

SIDE = 360
"""Longest side of a picture in pixels; small images are enlarged to it."""

MOST_FINDINGS = 5

_DASH = 6


@dataclass(frozen=True)
class Finding:
    """One class of one picture.

    ``true`` is None where it is unknown, ``share`` in [0, 1] is drawn as a bar, ``colour`` (CSS) is that of the drawing
    and None where nothing is drawn.
    """

    name: str
    true: bool | None
    words: str
    share: float | None
    colour: str | None


def picture(example: Example) -> str:
    """The example as a PNG data address."""
    scale = SIDE / max(example.image.shape)
    size = (round(example.image.shape[1] * scale), round(example.image.shape[0] * scale))
    canvas = cv2.cvtColor(cv2.resize(example.image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
    if example.masks is not None:
        _masks(canvas, example)
    if example.boxes is not None:
        _boxes(canvas, example, scale)
    _, encoded = cv2.imencode(
        ".png", canvas[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6]
    )  # half as large as by default
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def findings(example: Example, classes: Sequence[str]) -> list[Finding]:
    """What is true and what was predicted, class by class."""
    if example.probabilities is not None:
        return _label_findings(example, classes)
    if example.boxes is not None:
        return _box_findings(example, classes)
    return _mask_findings(example, classes)


def _label_findings(example: Example, classes: Sequence[str]) -> list[Finding]:
    """What is there, then what was thought most likely."""
    order = sorted(range(len(classes)), key=lambda k: (not example.labels[k] >= 0.5, -example.probabilities[k]))
    return [
        Finding(classes[k], _true(example, k), f"{example.probabilities[k]:.2f}", float(example.probabilities[k]), None)
        for k in order[:MOST_FINDINGS]
    ]


def _box_findings(example: Example, classes: Sequence[str]) -> list[Finding]:
    rows = []
    for k, name in enumerate(classes):
        true, found = int((example.box_classes == k).sum()), example.pred_scores[example.pred_classes == k]
        if true or len(found):
            best = f" ({', '.join(f'{score:.2f}' for score in found[:3])})" if len(found) else ""
            rows.append(Finding(name, _true(example, k), f"{true} true, {len(found)} drawn{best}", None, _css(k)))
    return rows


def _mask_findings(example: Example, classes: Sequence[str]) -> list[Finding]:
    """Classes that are drawn, with their Dice where the truth is known; the others are only counted."""
    rows, absent, unknown = [], 0, 0
    for k, (name, truth, predicted) in enumerate(zip(classes, example.masks, example.pred_masks, strict=True)):
        known = truth != UNKNOWN_PIXEL
        true, found = (truth == 1) & known, (predicted == 1) & known
        total = int(true.sum() + found.sum())
        dice = 2 * int((true & found).sum()) / total if total else None
        if total or predicted.any():
            words = "unknown" if dice is None else f"Dice {dice:.2f}"
            rows.append(Finding(name, bool(true.any()) if known.any() else None, words, dice, _css(k)))
        else:
            absent += int(known.any())
            unknown += int(not known.any())
    rows.sort(key=lambda row: not row.true)
    rows += [Finding(_classes(absent), False, "neither true nor found", None, None)] if absent else []
    rows += [Finding(_classes(unknown), None, "unknown", None, None)] if unknown else []
    return rows


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _true(example: Example, k: int) -> bool | None:
    return None if np.isnan(example.labels[k]) else bool(example.labels[k] >= 0.5)


def _colour(k: int) -> tuple[int, int, int]:
    """The palette, then the same half way to white: twice as many classes are told apart."""
    red, green, blue = COLOURS[int(k) % len(COLOURS)]
    paler = (int(k) // len(COLOURS)) % 2
    return (red + paler * (255 - red) // 2, green + paler * (255 - green) // 2, blue + paler * (255 - blue) // 2)


def _css(k: int) -> str:
    return "rgb({},{},{})".format(*_colour(k))


def _boxes(canvas: np.ndarray, example: Example, scale: float) -> None:
    """True boxes solid, predicted ones dashed with their score in a corner."""
    for box, label in zip(example.boxes, example.box_classes, strict=True):
        x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _colour(label), 2, cv2.LINE_AA)
    predicted = zip(example.pred_boxes, example.pred_classes, example.pred_scores, strict=True)
    for box, label, score in predicted:
        x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
        _dashed(canvas, np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), _colour(label))
        _tag(canvas, f"{score:.2f}", (x1, y2), _colour(label))


def _tag(canvas: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Black text on the class's colour with its lower left end at ``corner`` (x, y), moved into the picture."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    x = min(max(corner[0], 0), canvas.shape[1] - width - 6)
    y = min(max(corner[1], height + 6), canvas.shape[0])
    cv2.rectangle(canvas, (x, y - height - 6), (x + width + 5, y), colour, cv2.FILLED)
    cv2.putText(canvas, text, (x + 3, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def _masks(canvas: np.ndarray, example: Example) -> None:
    """True masks tinted with a solid edge, predicted ones as dashed outlines, unknown pixels striped."""
    size = (canvas.shape[1], canvas.shape[0])
    rows, columns = np.indices(canvas.shape[:2])
    stripes = (rows + columns) % 8 < 2
    for index, (truth, predicted) in enumerate(zip(example.masks, example.pred_masks, strict=True)):
        colour = _colour(index)
        large = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
        inside = large == 1
        canvas[inside] = (0.78 * canvas[inside] + 0.22 * np.array(colour)).astype(np.uint8)
        if (large != UNKNOWN_PIXEL).any():  # a class that was not annotated at all is told in words, not striped
            canvas[(large == UNKNOWN_PIXEL) & stripes] = colour
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
