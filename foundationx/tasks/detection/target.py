"""Boxes of one image and of a batch: checked against the image, resized, moved with the pixels, collated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """

    boxes: np.ndarray
    box_classes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def resized(self, size: tuple[int, int], side: int) -> Self:
        """Boxes of the image of ``size`` (height, width) after it was stretched to a square of ``side`` pixels."""
        height, width = size
        scale = np.array([side / width, side / height] * 2, dtype=np.float32)
        return type(self)(self.boxes * scale, self.box_classes)

    def moved(self, move: Move) -> Self:
        """Bounds of what is seen of each box; they travel as corners, since a turned box's bounds depend on the cut."""
        corners = self.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
        boxes, visible = _visible_bounds(move.points(corners).reshape(-1, 4, 2), move.size)
        return type(self)(boxes, self.box_classes[visible])


@dataclass(slots=True, kw_only=True)
class DetectionBatch(Batch):
    """Images with boxes.

    Attributes:
        centred_boxes: (B, T, 4) float32, centre x, centre y, width, height, as shares of the image.
        box_classes: (B, T) int64, -1 in the padding.
    """

    centred_boxes: Tensor
    box_classes: Tensor


def scaled(boxes: Boxes, reference: ReferenceSize, size: tuple[int, int]) -> Boxes:
    """Boxes in pixels of ``reference``, in those of a copy of the image of another ``size`` (height, width).

    What reaches beyond the reference within its tolerance is cut first: enlarged, it would lie outside.
    """
    limits = np.array([reference.width, reference.height] * 2, dtype=np.float32)
    sides = np.array([size[1], size[0]] * 2, dtype=np.float32)
    inside = np.clip(boxes.boxes, 0, limits)
    is_near = np.abs(boxes.boxes - inside) <= reference.tolerance
    return Boxes(np.where(is_near, inside, boxes.boxes) * (sides / limits), boxes.box_classes)


def checked(boxes: Boxes, source: SourceImage) -> Boxes:
    """Published boxes clipped to their image. Raises DataError if one is empty or lies outside."""
    height, width = source.size
    corners = boxes.boxes.reshape(-1, 4)
    inside = np.clip(corners, 0, np.array([width, height, width, height], dtype=np.float32))
    far_out = ~(np.abs(corners - inside) <= OUTSIDE_TOLERANCE).all(axis=1)  # true for NaN too
    empty = (inside[:, 2:] <= inside[:, :2]).any(axis=1)
    if (far_out | empty).any():
        raise source.outside(f"box {corners[far_out | empty][0].tolist()} (x1, y1, x2, y2)")
    return Boxes(inside, boxes.box_classes)


def collate(common: Mapping[str, Any], targets: Sequence[Boxes], size: tuple[int, int]) -> DetectionBatch:
    """Boxes become shares of the image and are padded to the batch's largest count."""
    import torch

    height, width = size
    most = max(map(len, targets))
    boxes = np.zeros((len(targets), most, 4), dtype=np.float32)
    classes = np.full((len(targets), most), -1, dtype=np.int64)
    for index, target in enumerate(targets):
        corners = target.boxes / np.array([width, height, width, height], dtype=np.float32)
        count = len(corners)
        boxes[index, :count, :2] = (corners[:, :2] + corners[:, 2:]) / 2
        boxes[index, :count, 2:] = corners[:, 2:] - corners[:, :2]
        classes[index, :count] = target.box_classes
    return DetectionBatch(**common, centred_boxes=torch.from_numpy(boxes), box_classes=torch.from_numpy(classes))


def _visible_bounds(quadrangles: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n, 4) of what is seen of quadrangles (N, 4, 2), and which of them keep ``MIN_VISIBLE`` of their area."""
    view = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32)
    bounds, visible = [], []
    for index, quadrangle in enumerate(quadrangles):
        area, seen = cv2.intersectConvexConvex(quadrangle, view)
        if area > 0 and area >= MIN_VISIBLE * cv2.contourArea(quadrangle):
            seen = np.clip(seen.reshape(-1, 2), 0, side)  # against rounding
            bounds.append(np.concatenate([seen.min(axis=0), seen.max(axis=0)]))
            visible.append(index)
    return np.array(bounds, dtype=np.float32).reshape(-1, 4), np.array(visible, dtype=np.int64)
