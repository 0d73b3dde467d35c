"""Which images could be one image: every image's nearest neighbours by a compact descriptor.

The descriptor is the thumbnail with even contrast, blurred to 16 x 16 numbers of length 1: brightness, contrast, size
and compression hardly change it. Turning and cropping do; so every image also asks in the forms that it would have
if it had been turned by up to about 3 degrees or cropped by up to about 5 % a side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

GRID = 16
"""Numbers a side of a descriptor."""

FORMS = tuple((degrees, scale) for scale in (1.0, 1.07) for degrees in (0.0, -2.0, 2.0))
"""Rotation and enlargement in which an image asks. Not their inverses: the other image of a pair asks too."""

NEIGHBOURS = 5
"""Candidates of each image in all its forms."""

FLOOR = 0.9
"""Cosine below which a neighbour is no candidate (measured: copies 0.93 and more, nearly all above 0.98)."""

_BLOCK = 256
"""Images that ask at once: a block of similarities takes 2 * _BLOCK * N * 4 bytes."""


def descriptor(thumbnail: np.ndarray) -> np.ndarray:
    """(GRID * GRID,) float32 of length 1, from an (S, S) uint8 thumbnail."""
    values, side = thumbnail.astype(np.float32), thumbnail.shape[0]
    values -= cv2.GaussianBlur(values, (0, 0), side / 8)
    values /= np.sqrt(cv2.GaussianBlur(values * values, (0, 0), side / 8)) + 2
    values = cv2.GaussianBlur(values, (0, 0), side / GRID / 2.5)
    small = cv2.resize(values, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    return small / (np.linalg.norm(small) + 1e-9)


def forms(thumbnail: np.ndarray) -> np.ndarray:
    """(len(FORMS), GRID * GRID): descriptors of the thumbnail turned and enlarged."""
    middle = (thumbnail.shape[0] - 1) / 2
    turned = [
        cv2.warpAffine(
            thumbnail,
            cv2.getRotationMatrix2D((middle, middle), degrees, scale),
            thumbnail.shape[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for degrees, scale in FORMS
    ]
    return np.stack([descriptor(image) for image in turned])


def candidates(
    thumbnails: Sequence[np.ndarray], advance: Callable[[int], None] = lambda count: None
) -> list[tuple[int, int]]:
    """Pairs of images worth a closer look: at most NEIGHBOURS an image, in any of its forms at least FLOOR alike.

    Cost for N images: 2 ms an image for descriptors, then len(FORMS) * N * N * GRID * GRID multiplications in blocks of
    matrix products (N = 100,000: 1.5e13, ten minutes of one core); memory 5 kB an image and 2 blocks.

    Args:
        thumbnails: N of (S, S) uint8.
        advance: told of every few images that have asked.

    Returns:
        Pairs (i, j), i < j, each once, ascending.
    """
    small = _in_threads(_half, thumbnails)
    plain = np.stack(_in_threads(descriptor, small)) if small else np.zeros((0, GRID * GRID))
    found: set[tuple[int, int]] = set()
    for start in range(0, len(plain), _BLOCK):
        asking = np.stack(_in_threads(forms, small[start : start + _BLOCK]))
        alike = asking[:, 0] @ plain.T
        for form in range(1, asking.shape[1]):
            np.maximum(alike, asking[:, form] @ plain.T, out=alike)
        rows = np.arange(len(asking))
        alike[rows, start + rows] = -1
        found |= _best(alike, start)
        advance(len(asking))
    return sorted(found)


def _best(alike: np.ndarray, start: int) -> set[tuple[int, int]]:
    """The nearest of each row of an (M, N) block of similarities whose first row is image ``start``."""
    count = min(NEIGHBOURS, alike.shape[1])
    nearest = np.argpartition(alike, -count, axis=1)[:, -count:]
    rows, places = np.nonzero(np.take_along_axis(alike, nearest, axis=1) >= FLOOR)
    pairs = zip((start + rows).tolist(), nearest[rows, places].tolist(), strict=True)
    return {(min(pair), max(pair)) for pair in pairs}


def _half(thumbnail: np.ndarray) -> np.ndarray:
    """Half the size: enough for a descriptor."""
    return cv2.resize(thumbnail, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _in_threads(function: Callable[[np.ndarray], np.ndarray], images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """OpenCV works without Python's lock: threads are enough."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, images))
