"""Candidate pairs of equal images: the nearest neighbours of every image by a compact descriptor.

The descriptor is the thumbnail with local contrast normalised, blurred to 16 x 16 numbers and scaled to length 1:
brightness, contrast, size and compression hardly change it, and inversion changes its sign alone. Rotation and cropping
do; so every image is also searched for in variants that are rotated by up to about 3 degrees or cropped by up to about
5 % per side, and turned and mirrored in all eight ways. A second descriptor of the middle tones finds copies whose dark
and bright tones a narrow window has cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from foundationx.core.device import usable_cores

GRID = 16
"""A descriptor has GRID x GRID numbers."""

VARIANTS = (*((degrees, scale) for scale in (1.0, 1.07) for degrees in (0.0, -2.0, 2.0)), (0.0, 1.15), (0.0, 1.25))
"""Rotation in degrees and enlargement of a query. Not their inverses: the other image of a pair is a query too."""

NEIGHBOURS = 5
"""Candidates per image, over all its variants."""

TONES = (0.2, 0.8)
"""Ranks of the grey values that the descriptor of the middle tones looks at."""

ORIENTATIONS = 8
"""Ways to turn and mirror a square: number modulo 4 quarter turns, from 4 on mirrored first."""

FORMS: tuple[tuple[int | None, int], ...] = (
    *((number, 0) for number in range(len(VARIANTS))),
    (None, 0),
    *((0, orientation) for orientation in range(1, ORIENTATIONS)),
)
"""Forms of a query: number of the variant (None: the middle tones) and orientation."""

FLOOR = 0.88
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


def middle_tones(thumbnail: np.ndarray) -> np.ndarray:
    """The ranks of the grey values from TONES[0] to TONES[1], spread over the grey range: (S, S) float32.

    Any brightness curve, and any window that leaves these tones, gives the same.
    """
    counts = np.bincount(thumbnail.ravel(), minlength=256).astype(np.float64)
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    low, high = TONES
    return np.asarray(np.clip((ranks - low) / (high - low), 0, 1) * 255, np.float32)[thumbnail]


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """A square image, mirrored if ``orientation`` is 4 or more, then turned by ``orientation`` % 4 quarters."""
    return np.rot90(image[:, ::-1] if orientation >= 4 else image, orientation % 4)


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """Two thumbnails that may show one image.

    Attributes:
        first: Index of one thumbnail.
        second: Index of the other, another image.
        orientation: How the first is mirrored and turned to look like the second, see :func:`turned`.
        inverted: Whether its grey values have to be inverted.
        scale: How much it has to be enlarged, about.
    """

    first: int
    second: int
    orientation: int = 0
    inverted: bool = False
    scale: float = 1.0


def candidates(
    thumbnails: Sequence[np.ndarray],
    owners: Sequence[int] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Candidate]:
    """Pairs of images to compare in detail: at most NEIGHBOURS per thumbnail, with a cosine of at least FLOOR.

    Cost for N thumbnails: 3 ms each for descriptors, then len(FORMS) * N * N * GRID * GRID
    multiplications in blocks of matrix products (N = 100,000: 4.1e13, 25 minutes on one core); memory 7 kB per
    thumbnail and 3 blocks.

    Args:
        thumbnails: N thumbnails, (S, S) uint8.
        owners: Image of each thumbnail; thumbnails of one image are not compared. None: one each.
        advance: Callback with the number of further images searched for.

    Returns:
        Candidates in ascending order; of each pair of thumbnails the most similar form.
    """
    owner = np.arange(len(thumbnails)) if owners is None else np.asarray(owners)
    small = _in_threads(_half, thumbnails)
    empty = np.zeros((0, GRID * GRID), np.float32)
    plain = np.stack(_in_threads(descriptor, small)) if small else empty
    tones = np.stack(_in_threads(lambda image: descriptor(middle_tones(image)), small)) if small else empty
    found: dict[tuple[int, int], tuple[float, Candidate]] = {}
    for start in range(0, len(plain), _BLOCK):
        queries = np.stack(_in_threads(variants, small[start : start + _BLOCK]))
        best, form = _similarities(queries, tones[start : start + _BLOCK], plain, tones)
        best[owner[start : start + len(queries), None] == owner[None, :]] = -1
        for cosine, candidate in _nearest(best, form, start):
            pair = (min(candidate.first, candidate.second), max(candidate.first, candidate.second))
            found[pair] = max(found.get(pair, (-1.0, candidate)), (cosine, candidate))
        advance(
            len(np.unique(owner[start : start + len(queries)])) - int(start > 0 and owner[start - 1] == owner[start])
        )
    return sorted(candidate for _, candidate in found.values())


def _similarities(
    queries: np.ndarray, query_tones: np.ndarray, plain: np.ndarray, tones: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Largest cosine of any form of M queries with N thumbnails, (M, N), and twice the number of the form in FORMS.

    One is added for an inverted copy, whose cosine is negative.
    """
    grids = queries[:, 0].reshape(-1, GRID, GRID)
    best = np.full((len(queries), len(plain)), -1.0, np.float32)
    form = np.zeros(best.shape, np.int8)
    for number, (variant, orientation) in enumerate(FORMS):
        if orientation:
            grid = np.stack([turned(one, orientation) for one in grids]).reshape(len(grids), -1)
            cosines = grid @ plain.T
        else:
            cosines = query_tones @ tones.T if variant is None else queries[:, variant] @ plain.T
        sizes = np.abs(cosines)
        better = sizes > best
        np.copyto(best, sizes, where=better)
        np.copyto(form, np.int8(2 * number) + (cosines < 0), where=better)
    return best, form


def _nearest(best: np.ndarray, form: np.ndarray, start: int) -> Iterator[tuple[float, Candidate]]:
    """The nearest of each row of an (M, N) block of similarities whose first row is thumbnail ``start``."""
    count = min(NEIGHBOURS, best.shape[1])
    columns = np.argpartition(best, -count, axis=1)[:, -count:]
    for row, column in zip(*np.nonzero(np.take_along_axis(best, columns, axis=1) >= FLOOR), strict=True):
        other = int(columns[row, column])
        number, inverted = divmod(int(form[row, other]), 2)
        variant, orientation = FORMS[number]
        scale = 1.0 if variant is None else VARIANTS[variant][1]
        yield float(best[row, other]), Candidate(int(start + row), other, orientation, bool(inverted), scale)


def _half(thumbnail: np.ndarray) -> np.ndarray:
    """Half the size: enough for a descriptor."""
    return cv2.resize(thumbnail, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _in_threads(function: Callable[[np.ndarray], np.ndarray], images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Applies a function to all images; OpenCV releases Python's lock, so threads are enough."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(function, images))
