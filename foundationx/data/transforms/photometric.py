"""Photometry of a view. What changes a level alone is one table of 256 levels, looked up once a pixel."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from albucore import sz_lut

from foundationx.core.config.views import PhotometryConfig

if TYPE_CHECKING:
    import albumentations as A

LEVELS = np.arange(256, dtype=np.uint8)


class Tones:
    """Brightness, contrast and gamma, then noise, then blur.

    Args:
        options: Which transforms, and how large.
    """

    def __init__(self, options: PhotometryConfig):
        import albumentations as A  # here and below: a second of imports, which plain images do not need

        curves, grain = _curves(options), _grain(options)
        # Shapes need no check here: there is but one array.
        self._curves = A.Compose(curves, is_check_shapes=False) if curves else None
        self._grain = A.Compose(grain, is_check_shapes=False) if grain else None

    def __bool__(self) -> bool:
        """Whether any tone changes."""
        return self._curves is not None or self._grain is not None

    def __call__(self, image: np.ndarray, chance: random.Random) -> np.ndarray:
        """An image (H, W) uint8 toned. One stream for all: with a seed each, gamma would follow contrast."""
        if self._curves is not None:
            self._curves.set_random_state(self._curves.random_generator, chance)  # curves draw from ``chance`` alone
            image = sz_lut(np.ascontiguousarray(image), self._curves(image=LEVELS[None])["image"][0], inplace=False)
        if self._grain is not None:
            self._grain.set_random_state(np.random.default_rng(chance.getrandbits(64)), chance)
            image = self._grain(image=image)["image"]
        return image


def _curves(options: PhotometryConfig) -> list[A.BasicTransform]:
    """What gives a pixel of one level another level, whatever lies around it."""
    import albumentations as A

    curves: list[A.BasicTransform] = []
    if options.brightness or options.contrast:
        curves.append(
            A.RandomBrightnessContrast(
                brightness_limit=options.brightness, contrast_limit=options.contrast, p=options.chance
            )
        )
    if options.gamma:
        spread = 100 * options.gamma
        curves.append(A.RandomGamma(gamma_limit=(100 - spread, 100 + spread), p=options.chance))
    return curves


def _grain(options: PhotometryConfig) -> list[A.BasicTransform]:
    """What differs from pixel to pixel."""
    import albumentations as A

    grain: list[A.BasicTransform] = []
    if options.noise:
        grain.append(A.GaussNoise(std_range=(0.0, options.noise), p=1.0))
    if options.blur:
        grain.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.0, options.blur), p=0.5))
    return grain
