"""Boxes of one image and of a batch: checked against the image, resized, moved with the pixels, collated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from foundationx.core.types import Batch, Move, ReferenceSize
from foundationx.tasks.definition import OUTSIDE_TOLERANCE, SourceImage

if TYPE_CHECKING:
    from torch import Tensor

MIN_VISIBLE = 0.25
"""A box of which less than this share of the area stays inside the view is dropped."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one image.

    Attributes:
        boxes: (N, 4) float32 x1 y1 x2 y2 in pixels.
        box_classes: (N,) int64, class indices.
        ignored: (M, 4) float32, regions in which a class is neither present nor absent, since readers dispute it or
            only a crowd is marked.
        ignored_classes: (M,) int64, class index of each region.
    """

    boxes: np.ndarray
    box_classes: np.ndarray
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), dtype=np.float32))
    ignored_classes: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

    def resized(self, size: tuple[int, int], side: int) -> Self:
        """Boxes of the image of ``size`` (height, width) after it was stretched to a square of ``side`` pixels."""
        height, width = size
        scale = np.array([side / width, side / height] * 2, dtype=np.float32)
        return type(self)(self.boxes * scale, self.box_classes, self.ignored * scale, self.ignored_classes)

    def moved(self, move: Move) -> Self:
        """Bounds of what is seen of each box; they travel as corners, since a turned box's bounds depend on the cut."""
        boxes, visible = _moved(self.boxes, move, MIN_VISIBLE)
        ignored, still_ignored = _moved(self.ignored, move, 0.0)
        return type(self)(boxes, self.box_classes[visible], ignored, self.ignored_classes[still_ignored])

    def mirrored(self, order: np.ndarray) -> Self:
        """Boxes of a flipped image, in which sides have changed places; ``order`` (K,) is its own inverse."""
        return type(self)(self.boxes, order[self.box_classes], self.ignored, order[self.ignored_classes])


@dataclass(slots=True, kw_only=True)
class DetectionBatch(Batch):
    """Images with boxes.

    Attributes:
        centred_boxes: (B, T, 4) float32, centre x, centre y, width, height, as shares of the image.
        box_classes: (B, T) int64, -1 in the padding.
        ignored_boxes: (B, M, 4), regions in which a class is unknown, likewise; None if no image has one.
        ignored_classes: (B, M) int64, -1 in the padding.
    """

    centred_boxes: Tensor
    box_classes: Tensor
    ignored_boxes: Tensor | None = None
    ignored_classes: Tensor | None = None


def scaled(boxes: Boxes, reference: ReferenceSize, size: tuple[int, int]) -> Boxes:
    """Boxes in pixels of ``reference``, in those of a copy of the image of another ``size`` (height, width).

    What reaches beyond the reference within its tolerance is cut first: enlarged, it would lie outside.
    """
    limits = np.array([reference.width, reference.height] * 2, dtype=np.float32)
    sides = np.array([size[1], size[0]] * 2, dtype=np.float32)

    def enlarge(corners: np.ndarray) -> np.ndarray:
        inside = np.clip(corners, 0, limits)
        is_near = np.abs(corners - inside) <= reference.tolerance
        return np.where(is_near, inside, corners) * (sides / limits)

    return Boxes(enlarge(boxes.boxes), boxes.box_classes, enlarge(boxes.ignored), boxes.ignored_classes)


def checked(boxes: Boxes, source: SourceImage) -> Boxes:
    """Published boxes clipped to their image; one that is listed twice counts once.

    Raises:
        DataError: A box is empty or lies outside.
    """
    regions, inside = _clipped(boxes.ignored, source), _clipped(boxes.boxes, source)
    again = repeated(boxes)
    return Boxes(inside[~again], boxes.box_classes[~again], regions, boxes.ignored_classes)


def repeated(boxes: Boxes) -> np.ndarray:
    """Which boxes (N,) bool have the class and, to the last digit, the corners of an earlier one."""
    again = np.ones(len(boxes.boxes), dtype=bool)
    rows = np.column_stack([boxes.boxes.reshape(-1, 4), boxes.box_classes])
    again[np.unique(rows, axis=0, return_index=True)[1]] = False
    return again


def _clipped(boxes: np.ndarray, source: SourceImage) -> np.ndarray:
    """Boxes (N, 4) clipped to their image. Raises DataError if one is empty or lies outside."""
    height, width = source.size
    corners = boxes.reshape(-1, 4)
    inside = np.clip(corners, 0, np.array([width, height, width, height], dtype=np.float32))
    far_out = ~(np.abs(corners - inside) <= OUTSIDE_TOLERANCE).all(axis=1)  # true for NaN too
    empty = (inside[:, 2:] <= inside[:, :2]).any(axis=1)
    if (far_out | empty).any():
        raise source.outside(f"box {corners[far_out | empty][0].tolist()} (x1, y1, x2, y2)")
    return inside


def collate(common: Mapping[str, Any], targets: Sequence[Boxes], size: tuple[int, int]) -> DetectionBatch:
    """Boxes become shares of the image and are padded to the batch's largest count."""
    boxes, classes = _padded([(target.boxes, target.box_classes) for target in targets], size)
    batch = DetectionBatch(**common, centred_boxes=boxes, box_classes=classes)
    if any(len(target.ignored) for target in targets):
        regions = [(target.ignored, target.ignored_classes) for target in targets]
        batch.ignored_boxes, batch.ignored_classes = _padded(regions, size)
    return batch


def _padded(boxes: Sequence[tuple[np.ndarray, np.ndarray]], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes of each image in pixels, with their classes, as shares (B, T, 4) and classes (B, T), -1 in the padding."""
    import torch

    height, width = size
    most = max(len(corners) for corners, _ in boxes)
    shares = np.zeros((len(boxes), most, 4), dtype=np.float32)
    padded = np.full((len(boxes), most), -1, dtype=np.int64)
    for index, (pixels, classes) in enumerate(boxes):
        corners = pixels / np.array([width, height, width, height], dtype=np.float32)
        count = len(corners)
        shares[index, :count, :2] = (corners[:, :2] + corners[:, 2:]) / 2
        shares[index, :count, 2:] = corners[:, 2:] - corners[:, :2]
        padded[index, :count] = classes
    return torch.from_numpy(shares), torch.from_numpy(padded)


def _moved(boxes: np.ndarray, move: Move, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n, 4) of what is seen of boxes (N, 4) in the view, and which of them are seen by that share or more."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    return _visible_bounds(move.points(corners).reshape(-1, 4, 2), move.size, least)


def _visible_bounds(quadrangles: np.ndarray, side: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n, 4) of what is seen of quadrangles (N, 4, 2), and which keep the share ``least`` of their area."""
    view = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32)
    bounds, visible = [], []
    for index, quadrangle in enumerate(quadrangles):
        area, seen = cv2.intersectConvexConvex(quadrangle, view)
        if area > 0 and area >= least * cv2.contourArea(quadrangle):
            seen = np.clip(seen.reshape(-1, 2), 0, side)  # against rounding
            bounds.append(np.concatenate([seen.min(axis=0), seen.max(axis=0)]))
            visible.append(index)
    return np.array(bounds, dtype=np.float32).reshape(-1, 4), np.array(visible, dtype=np.int64)
