"""Views of an image: grey bytes in and out, targets moved with the pixels.

Geometry (``geometric.py``) and photometry (``photometric.py``) are drawn by albumentations (2.0.8, the last of MIT);
nothing else knows the library. A view is a function of (inputs, seed) alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from foundationx.core.config.views import GeometryConfig, PhotometryConfig, ViewConfig
from foundationx.core.types import Target
from foundationx.data.transforms.geometric import Moves
from foundationx.data.transforms.photometric import Tones

NO_GEOMETRY, NO_PHOTOMETRY = GeometryConfig(), PhotometryConfig()


@dataclass(slots=True)
class Views:
    """What student and teacher see; ``teacher_image`` is None if it is the student's.

    ``flipped``: left and right have changed places.
    """

    image: np.ndarray
    teacher_image: np.ndarray | None
    target: Target | None
    flipped: bool = False


class ViewPipeline:
    """Makes a training or evaluation view.

    Args:
        size: Side of the square view in pixels; the image is stretched to it.
        geometry: Geometric transforms; none by default.
        photometry: Photometric transforms; none by default.
        teacher: ``same`` view, ``clean`` (same geometry, no photometry) or the ``whole`` image resized.
    """

    def __init__(
        self,
        size: int,
        geometry: GeometryConfig = NO_GEOMETRY,
        photometry: PhotometryConfig = NO_PHOTOMETRY,
        teacher: Literal["same", "clean", "whole"] = "same",
    ):
        self.size, self.teacher = size, teacher
        self._moves = Moves(geometry, size)
        self._tones = Tones(photometry)
        self.flips = geometry.hflip > 0
        """Whether left and right may change places."""

    def __call__(self, image: np.ndarray, target: Target | None, seed: int) -> Views:
        """One view.

        Args:
            image: (H, W) uint8.
            target: In pixels of the image; None if there is nothing to move.
            seed: Seed of everything random.

        Returns:
            The view at ``size``, with the target in its pixels.
        """
        source, chance, flipped = image, random.Random(seed), False
        image, target = self.resize(image, target)
        if self._moves:
            move = self._moves.draw(chance)
            flipped = move.flip
            image, target = move.image(image), None if target is None else target.moved(move)
        toned = self._tones(image, chance) if self._tones else image
        teacher_image = None
        if self.teacher == "clean" and self._tones:
            teacher_image = image
        elif self.teacher == "whole":
            teacher_image = _resize_image(source, self.size)
        return Views(toned, teacher_image, target, flipped)

    def resize(self, image: np.ndarray, target: Target | None) -> tuple[np.ndarray, Target | None]:
        """Both stretched to ``size``; an image that has that size already stays as it is."""
        height, width = image.shape
        resized = None if target is None else target.resized((height, width), self.size)
        return _resize_image(image, self.size), resized


def view_pipeline(size: int, config: ViewConfig) -> ViewPipeline:
    """The views of ``size`` pixels per side that a configuration describes."""
    return ViewPipeline(size, config.geometry, config.photometry, config.teacher)


def _resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Averages areas if the image shrinks; interpolates linearly if it grows."""
    if image.shape == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
