"""Distortions of a view, to be restored: grey values, local order, hidden patches.

See ``docs/methods/self_supervision.md``, "3.2 Corruption".
"""

from __future__ import annotations

import numpy as np

LOCAL_BLOCKS = 40
"""Small patches whose pixels are shuffled."""

GREY_CHANCE = 0.9
PAINT_CHANCE = 0.9
OUTSIDE_CHANCE = 0.8
"""Of the painted views, how many are hidden outside a window; the others have hidden patches inside."""


def distort(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A distorted copy of a square grey view (S, S) uint8. No pixel's content moves farther than a few pixels."""
    image = _shuffle_locally(image, random)
    if random.random() < GREY_CHANCE:
        image = _grey_curve(random)[image]
    if random.random() < PAINT_CHANCE:
        image = _hide_outside(image, random) if random.random() < OUTSIDE_CHANCE else _hide_inside(image, random)
    return image


def _shuffle_locally(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shuffles the pixels of small patches, of up to a tenth of the side."""
    image = image.copy()
    most = max(2, image.shape[0] // 10)
    for _ in range(LOCAL_BLOCKS):
        rows, columns = _window(image.shape[0], (1, most), random)
        patch = image[rows, columns]
        image[rows, columns] = random.permutation(patch.ravel()).reshape(patch.shape)
    return image


def _grey_curve(random: np.random.Generator) -> np.ndarray:
    """A table (256,) uint8: a cubic Bezier curve through two random points, rising or, as often, falling."""
    t = np.linspace(0, 1, 512)
    inner = np.sort(random.random((2, 2)), axis=0)
    x, y = (3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 for a, b in inner.T)
    table = np.interp(np.linspace(0, 1, 256), x, y)
    if random.random() < 0.5:
        table = table[::-1]
    return np.round(255 * table).astype(np.uint8)


def _hide_inside(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noise over up to five patches of a sixth to a third of the side."""
    image = image.copy()
    side = image.shape[0]
    for _ in range(random.integers(1, 6)):
        window = _window(side, (side // 6, side // 3), random)
        image[window] = random.integers(0, 256, size=image[window].shape, dtype=np.uint8)
    return image


def _hide_outside(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noise everywhere but in a window of three to six sevenths of the side."""
    side = image.shape[0]
    window = _window(side, (3 * side // 7, 6 * side // 7), random)
    hidden = random.integers(0, 256, size=image.shape, dtype=np.uint8)
    hidden[window] = image[window]
    return hidden


def _window(side: int, extent: tuple[int, int], random: np.random.Generator) -> tuple[slice, slice]:
    """A rectangle inside a square of ``side``; height and width between the two of ``extent``."""
    height, width = random.integers(extent[0], extent[1] + 1, size=2)
    top, left = random.integers(0, side - height + 1), random.integers(0, side - width + 1)
    return slice(top, top + height), slice(left, left + width)
