"""Views of an image: grey bytes in and out, boxes and masks moved with the pixels.

Geometry (``warp.py``) and photometry (``tones.py``) are drawn by albumentations (2.0.8, the last MIT release); nothing
else knows the library. A view is a function of (inputs, seed) alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from foundationx.core.errors import ConfigError, nearest
from foundationx.data.transforms.geometric import Moves
from foundationx.data.transforms.photometric import Tones

MIN_VISIBLE = 0.25
"""A box of which less than this share of the area stays inside the view is dropped."""

GEOMETRY = {"hflip": 0.0, "rotate": 0.0, "scale": 0.0, "shift": 0.0, "affine_chance": 1.0, "crop_scale": None}
"""hflip, affine_chance: probabilities; rotate: degrees; scale, shift: shares; crop_scale: share of the area, two."""

PHOTOMETRY = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0, "blur": 0.0, "chance": 1.0}
"""brightness, contrast, gamma: greatest relative change; noise: greatest sigma as a share of 255; blur: in pixels;
chance: of each of the first three."""


@dataclass(slots=True)
class Views:
    """What student and teacher see; ``teacher_image`` is None where it is the student's."""

    image: np.ndarray
    teacher_image: np.ndarray | None
    boxes: np.ndarray | None
    box_classes: np.ndarray | None
    masks: np.ndarray | None


class ViewPipeline:
    """Makes a training or evaluation view.

    Args:
        size: side of the square view in pixels; the image is stretched to it.
        geometry: options of ``GEOMETRY``; none for a plain resize.
        photometry: options of ``PHOTOMETRY``.
        teacher: ``same`` view, ``clean`` (same geometry, no photometry) or the ``whole`` image resized.

    Raises:
        ConfigError: an option is unknown.
    """

    def __init__(
        self,
        size: int,
        geometry: dict[str, Any] | None = None,
        photometry: dict[str, Any] | None = None,
        teacher: Literal["same", "clean", "whole"] = "same",
    ):
        self.size, self.teacher = size, teacher
        self._moves = Moves(_known(geometry, GEOMETRY, "geometry"), size)
        self._tones = Tones(_known(photometry, PHOTOMETRY, "photometry"))

    def __call__(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None,
        box_classes: np.ndarray | None,
        masks: np.ndarray | None,
        seed: int,
    ) -> Views:
        """One view.

        Args:
            image: (H, W) uint8.
            boxes: (N, 4) x1 y1 x2 y2 in pixels, inside the image.
            box_classes: (N,) int64.
            masks: (K, H, W) uint8; pixels brought in from outside the image become unknown (255).
            seed: of everything random.

        Returns:
            The view at ``size``; boxes of which too little is left are gone.
        """
        whole, chance = image, random.Random(seed)
        image, boxes, masks = self.resize(image, boxes, masks)
        if self._moves:
            image, boxes, box_classes, masks = self._move(image, boxes, box_classes, masks, chance)
        toned = self._tones(image, chance) if self._tones else image
        teacher_image = None
        if self.teacher == "clean" and self._tones:
            teacher_image = image
        elif self.teacher == "whole":
            teacher_image = _resize_image(whole, self.size)
        return Views(toned, teacher_image, boxes, box_classes, masks)

    def resize(
        self, image: np.ndarray, boxes: np.ndarray | None, masks: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """All of them stretched to ``size``; what has that size already stays as it is."""
        boxes = scale_boxes(boxes, image.shape, self.size)
        if masks is not None and masks.shape[1:] != (self.size, self.size):
            # Exact: plain nearest takes the first pixel of each area, half a pixel beside what the image shows.
            masks = np.stack(
                [cv2.resize(m, (self.size, self.size), interpolation=cv2.INTER_NEAREST_EXACT) for m in masks]
            )
        return _resize_image(image, self.size), boxes, masks

    def _move(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None,
        box_classes: np.ndarray | None,
        masks: np.ndarray | None,
        chance: random.Random,
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Geometry. Boxes travel as their corners: a turned box's bounds depend on which of it stays in the view."""
        move = self._moves.draw(chance)
        if boxes is not None:
            quadrangles = move.points(_corners(boxes)).reshape(-1, 4, 2)
            boxes, kept = _visible_bounds(quadrangles, self.size)
            box_classes = box_classes[kept]
        return move.image(image), boxes, box_classes, None if masks is None else move.masks(masks)


def scale_boxes(boxes: np.ndarray | None, size: tuple[int, int], side: int) -> np.ndarray | None:
    """Boxes (N, 4) of an image of ``size`` (height, width) that is stretched to a square of ``side`` pixels."""
    if boxes is None:
        return None
    height, width = size
    return boxes * np.array([side / width, side / height] * 2, dtype=np.float32)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) x1 y1 x2 y2 to their corners (4 N, 2), around each box."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)


def _visible_bounds(quadrangles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n, 4) of what is seen of quadrangles (N, 4, 2), and which of them keep ``MIN_VISIBLE`` of their area."""
    view = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=np.float32)
    bounds, kept = [], []
    for place, quadrangle in enumerate(quadrangles):
        area, seen = cv2.intersectConvexConvex(quadrangle, view)
        if area > 0 and area >= MIN_VISIBLE * cv2.contourArea(quadrangle):
            seen = np.clip(seen.reshape(-1, 2), 0, size)  # against rounding
            bounds.append(np.concatenate([seen.min(axis=0), seen.max(axis=0)]))
            kept.append(place)
    return np.array(bounds, dtype=np.float32).reshape(-1, 4), np.array(kept, dtype=np.int64)


def _resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Averages areas where the image shrinks; linear where it grows."""
    if image.shape == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _known(given: dict[str, Any] | None, defaults: dict[str, Any], section: str) -> dict[str, Any]:
    """Options laid over their defaults."""
    for name in given or {}:
        if name not in defaults:
            raise ConfigError(f"views: {section}.{name}", "unknown option", nearest(name, defaults))
    return defaults | (given or {})
