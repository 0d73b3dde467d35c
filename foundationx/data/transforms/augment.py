"""Views of an image: grey bytes in and out, targets moved with the pixels.

Geometry (``geometric.py``) and photometry (``photometric.py``) are drawn by albumentations (2.0.8, the last of MIT);
nothing else knows the library. A view is a function of (inputs, seed) alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Target
from foundationx.data.transforms.geometric import Moves
from foundationx.data.transforms.photometric import Tones

GEOMETRY = {"hflip": 0.0, "rotate": 0.0, "scale": 0.0, "shift": 0.0, "affine_chance": 1.0, "crop_scale": None}
"""hflip, affine_chance: probabilities; rotate: degrees; scale, shift: shares; crop_scale: share of the area, two."""

PHOTOMETRY = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0, "blur": 0.0, "chance": 1.0}
"""brightness, contrast, gamma: greatest relative change; noise: greatest sigma as a share of 255; blur: in pixels;
chance: of each of the first three."""


@dataclass(slots=True)
class Views:
    """What student and teacher see; ``teacher_image`` is None if it is the student's."""

    image: np.ndarray
    teacher_image: np.ndarray | None
    target: Target | None


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
        self._moves = Moves(with_defaults(geometry, GEOMETRY, "geometry"), size)
        self._tones = Tones(with_defaults(photometry, PHOTOMETRY, "photometry"))

    def __call__(self, image: np.ndarray, target: Target | None, seed: int) -> Views:
        """One view.

        Args:
            image: (H, W) uint8.
            target: In pixels of the image; None if there is nothing to move.
            seed: Seed of everything random.

        Returns:
            The view at ``size``, with the target in its pixels.
        """
        whole, chance = image, random.Random(seed)
        image, target = self.resize(image, target)
        if self._moves:
            move = self._moves.draw(chance)
            image, target = move.image(image), None if target is None else target.moved(move)
        toned = self._tones(image, chance) if self._tones else image
        teacher_image = None
        if self.teacher == "clean" and self._tones:
            teacher_image = image
        elif self.teacher == "whole":
            teacher_image = _resize_image(whole, self.size)
        return Views(toned, teacher_image, target)

    def resize(self, image: np.ndarray, target: Target | None) -> tuple[np.ndarray, Target | None]:
        """Both stretched to ``size``; an image that has that size already stays as it is."""
        height, width = image.shape
        resized = None if target is None else target.resized((height, width), self.size)
        return _resize_image(image, self.size), resized


def _resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Averages areas where the image shrinks; linear where it grows."""
    if image.shape == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def with_defaults(given: dict[str, Any] | None, defaults: dict[str, Any], section: str) -> dict[str, Any]:
    """Options laid over their defaults. Raises ConfigError if one is unknown."""
    for name in given or {}:
        if name not in defaults:
            raise ConfigError(f"views: {section}.{name}", "unknown option", nearest(name, defaults))
    return defaults | (given or {})
