"""Candidate pairs of equal images: the nearest neighbours of every image by a compact descriptor.

The descriptor is the thumbnail with local contrast normalised, blurred to 16 x 16 numbers and scaled to length 1:
brightness, contrast, size and compression hardly change it. Rotation and cropping do; so every image is also searched
for in variants that are rotated by up to about 3 degrees or cropped by up to about 5 % per side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from foundationx.core.device import usable_cores

GRID = 16
"""A descriptor has GRID x GRID numbers."""

VARIANTS = tuple((degrees, scale) for scale in (1.0, 1.07) for degrees in (0.0, -2.0, 2.0))
"""Rotation in degrees and enlargement of a query. Not their inverses: the other image of a pair is a query too."""

NEIGHBOURS = 5
"""Candidates per image, over all its variants."""

FLOOR = 0.9
"""Cosine below which a neighbour is no candidate (measured: copies 0.93 and more, nearly all above 0.98)."""

_BLOCK = 256
"""Queries per block: a block of similarities takes 2 * _BLOCK * N * 4 bytes."""


def descriptor(thumbnail: np.ndarray) -> np.ndarray:
    """The descriptor of an (S, S) uint8 thumbnail: (GRID * GRID,) float32 of length 1."""
    values, side = thumbnail.astype(np.float32), thumbnail.shape[0]
    values -= _blurred(values, side / 8)
    values /= np.sqrt(_blurred(values * values, side / 8)) + 2
    resized = cv2.resize(_blurred(values, side / GRID / 2.5), (GRID, GRID), interpolation=cv2.INTER_AREA)
    small = np.asarray(resized, np.float32).ravel()
    small -= small.mean()
    return small / (np.linalg.norm(small) + 1e-9)


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def variants(thumbnail: np.ndarray) -> np.ndarray:
    """Descriptors of the thumbnail rotated and enlarged: (len(VARIANTS), GRID * GRID) float32."""
    middle = (thumbnail.shape[0] - 1) / 2
    rotated = [
        cv2.warpAffine(
            thumbnail,
            cv2.getRotationMatrix2D((middle, middle), degrees, scale),
            thumbnail.shape[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for degrees, scale in VARIANTS
    ]
    return np.stack([descriptor(image) for image in rotated])


def candidates(
    thumbnails: Sequence[np.ndarray], advance: Callable[[int], None] = lambda count: None
) -> list[tuple[int, int]]:
    """Pairs of images to compare in detail: at most NEIGHBOURS per image, with a cosine of at least FLOOR.

    Cost for N images: 2 ms per image for descriptors, then len(VARIANTS) * N * N * GRID * GRID multiplications in
    blocks of matrix products (N = 100,000: 1.5e13, ten minutes on one core); memory 5 kB per image and 2 blocks.

    Args:
        thumbnails: N thumbnails, (S, S) uint8.
        advance: Callback with the number of further images searched for.

    Returns:
        Pairs (i, j), i < j, each once, ascending.
    """
    small = _in_threads(_half, thumbnails)
    plain = np.stack(_in_threads(descriptor, small)) if small else np.zeros((0, GRID * GRID))
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(plain), _BLOCK):
        queries = np.stack(_in_threads(variants, small[start : start + _BLOCK]))
        cosines = queries[:, 0] @ plain.T
        for variant in range(1, queries.shape[1]):
            np.maximum(cosines, queries[:, variant] @ plain.T, out=cosines)
        rows = np.arange(len(queries))
        cosines[rows, start + rows] = -1
        pairs |= _best(cosines, start)
        advance(len(queries))
    return sorted(pairs)


def _best(cosines: np.ndarray, start: int) -> set[tuple[int, int]]:
    """The nearest of each row of an (M, N) block of similarities whose first row is image ``start``."""
    count = min(NEIGHBOURS, cosines.shape[1])
    nearest = np.argpartition(cosines, -count, axis=1)[:, -count:]
    rows, columns = np.nonzero(np.take_along_axis(cosines, nearest, axis=1) >= FLOOR)
    pairs = zip((start + rows).tolist(), nearest[rows, columns].tolist(), strict=True)
    return {(min(pair), max(pair)) for pair in pairs}


def _half(thumbnail: np.ndarray) -> np.ndarray:
    """Half the size: enough for a descriptor."""
    return cv2.resize(thumbnail, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _in_threads(function: Callable[[np.ndarray], np.ndarray], images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Applies a function to all images; OpenCV releases Python's lock, so threads are enough."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(function, images))
