"""Geometry of a view: a turn, a flip and a crop are drawn one by one and done in one, so pixels are interpolated once.

What is drawn is what albumentations would draw; it would turn and crop one after the other, each time between pixels.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import cv2
import numpy as np

from foundationx.core.config.views import GeometryConfig
from foundationx.core.types import UNKNOWN_PIXEL


@dataclass(slots=True)
class Move:
    """What one view does to a square image of ``size`` pixels per side.

    ``turn`` (3, 3) maps points of the image to points after turning, scaling and shifting, both counted in pixels from
    the image's corner; None if none was drawn. Then comes the flip, then ``crop``, x1 y1 x2 y2 in whole pixels,
    which is stretched to the whole view.
    """

    size: int
    turn: np.ndarray | None
    flip: bool
    crop: tuple[int, int, int, int]

    def matrix(self) -> np.ndarray:
        """(3, 3) from points of the image to points of the view, counted from the corner."""
        x1, y1, x2, y2 = self.crop
        across, down = self.size / (x2 - x1), self.size / (y2 - y1)
        mirror = np.array([[-1.0, 0.0, self.size], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) if self.flip else np.eye(3)
        stretch = np.array([[across, 0.0, -x1 * across], [0.0, down, -y1 * down], [0.0, 0.0, 1.0]])
        moved = stretch @ mirror
        return moved if self.turn is None else moved @ self.turn

    def image(self, image: np.ndarray) -> np.ndarray:
        """The view (size, size) of an image (size, size) uint8; black comes in from outside."""
        if self.turn is None:
            return self._cut(image, cv2.INTER_LINEAR)
        return warp(image, self.matrix(), cv2.INTER_LINEAR, 0)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks (K, size, size) by the nearest pixel; unknown comes in from outside."""
        if self.turn is None:
            moved = [self._cut(mask, cv2.INTER_NEAREST_EXACT) for mask in masks]
        else:
            matrix = self.matrix()
            moved = [warp(mask, matrix, cv2.INTER_NEAREST, UNKNOWN_PIXEL) for mask in masks]
        return np.stack(moved) if moved else masks

    def points(self, points: np.ndarray) -> np.ndarray:
        """Positions (N, 2), x and y counted from the corner, also outside."""
        matrix = self.matrix()
        return (points @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)

    def _cut(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        """Without a turn. The rim is not mixed with black: a crop shows nothing from outside the image."""
        x1, y1, x2, y2 = self.crop
        if self.flip:
            pixels = cv2.flip(pixels, 1)
        part = np.ascontiguousarray(pixels[y1:y2, x1:x2])
        return cv2.resize(part, (self.size, self.size), interpolation=interpolation)


class Moves:
    """Draws the move of a view, with the distributions of albumentations' ``Affine`` and ``RandomResizedCrop``.

    Args:
        options: Which transforms, and how large.
        size: Side of the square image and of the view, in pixels.
    """

    def __init__(self, options: GeometryConfig, size: int):
        self._options, self._size = options, size
        self._turns = bool(options.rotate or options.scale or options.shift)
        scale = options.crop_scale
        import albumentations as A  # a second of imports, which images that are only resized do not need

        self._crop = A.RandomResizedCrop(size=(size, size), scale=scale, p=1.0) if scale else None

    def __bool__(self) -> bool:
        """Whether anything moves."""
        return bool(self._turns or self._options.hflip or self._crop is not None)

    def draw(self, chance: random.Random) -> Move:
        """The next move. One stream for all: with a seed each, the crop would follow the turn."""
        options, turn, crop = self._options, None, (0, 0, self._size, self._size)
        if self._turns and (options.affine_chance >= 1 or chance.random() < options.affine_chance):
            turn = self._turn(chance)
        flip = bool(options.hflip) and chance.random() < options.hflip
        if self._crop is not None:
            self._crop.set_random_state(self._crop.random_generator, chance)
            crop = self._crop.get_params_dependent_on_data({"shape": (self._size, self._size)}, {})["crop_coords"]
        return Move(self._size, turn, flip, crop)

    def _turn(self, chance: random.Random) -> np.ndarray:
        """Scale of each axis and angle about the middle, then a shift in whole pixels, as (3, 3).

        Albumentations' ``Affine`` makes the same, but takes longer for it than all other draws together.
        """
        shift, scale, rotate = (self._options.shift, self._options.scale, self._options.rotate)
        right, down = (int(chance.uniform(-shift, shift) * self._size) for _ in range(2))
        across, upright = (chance.uniform(1 - scale, 1 + scale) for _ in range(2))
        angle = math.radians(chance.uniform(-rotate, rotate))
        cosine, sine, middle = math.cos(angle), math.sin(angle), self._size / 2
        linear = ((cosine * across, sine * upright), (-sine * across, cosine * upright))
        moved = [middle - middle * (x + y) + shifted for (x, y), shifted in zip(linear, (right, down), strict=True)]
        return np.array([[*linear[0], moved[0]], [*linear[1], moved[1]], [0.0, 0.0, 1.0]])


def warp(pixels: np.ndarray, matrix: np.ndarray, interpolation: int, fill: int) -> np.ndarray:
    """Pixels (H, W) uint8 moved by an affine matrix (3, 3) that counts from the corner; the size stays.

    OpenCV's own code rounds positions to 1/32 of a pixel, and values are off by up to 6 of 255 if the image is noise.
    Intel's, part of OpenCV on x86, rounds only the result and takes a third of the time; OpenCV calls it "not exact"
    for its differences from the former. The switch holds for this thread and this call.
    """
    middles = matrix[:2].copy()  # OpenCV counts from the middle of the first pixel
    middles[:, 2] += 0.5 * (matrix[:2, 0] + matrix[:2, 1]) - 0.5
    before = cv2.ipp.useIPP_NotExact()
    cv2.ipp.setUseIPP_NotExact(True)
    try:
        return cv2.warpAffine(pixels, middles, pixels.shape[::-1], flags=interpolation, borderValue=fill)
    finally:
        cv2.ipp.setUseIPP_NotExact(before)
