"""Whether two thumbnails show one image.

Radiographs all look alike at first sight: what tells them apart is fine detail (ribs' edges, vessels, grain) in the
right place. The thumbnails are registered by an affine map (ECC: Evangelidis and Psarakis, IEEE TPAMI 30(10), 2008),
at half the size first; then their detail of about 2 to 6 pixels is correlated.

Measured by ``benchmarks/audit_recall.py`` on generated and real radiographs: copies (smaller, 8 for 16 bits, JPEG at
quality 70, turned by 2 degrees and cropped) correlate by 0.9 to 1.0, all of it at once by 0.85 to 0.98; different
radiographs by less than 0.83 among generated and 0.5 among real ones, further films of one real patient by less than
0.8. Further films of one generated patient reach 0.97: nothing but noise and position tells them apart.
"""

from __future__ import annotations

import cv2
import numpy as np

SAME = 0.85
"""Correlation of detail from which on two thumbnails are one image."""

_ALIKE = 0.85
"""Correlation of detail at half the size below which the whole size is not looked at (copies: 0.94 and more)."""

_OVERLAP = 0.6
"""Share of the thumbnail that both must cover after registration."""

_DISTORTION = 0.25
"""Largest change of the affine map from none, by entry: more would bend one chest into another."""

_MARGIN = 32
"""A share of the side of 1 / _MARGIN is not compared at the border: filters are not reliable there."""


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the detail of two thumbnails after registration.

    Args:
        first: (S, S) uint8 thumbnail, S even.
        second: the other, of the same size.

    Returns:
        In [-1, 1]; -1 where they cannot be registered or differ at half the size already. About 4 ms a pair on one core
        where they do, 10 ms where not.
    """
    first, second = first.astype(np.float32), second.astype(np.float32)
    side = first.shape[0]
    halves = [cv2.resize(image, (side // 2, side // 2), interpolation=cv2.INTER_AREA) for image in (first, second)]
    try:
        motion = _register(*(_even_contrast(half, 2) for half in halves), np.eye(2, 3, dtype=np.float32), 40)
        if _correlation(*halves, motion) < _ALIKE:
            return -1.0
        motion[:, 2] *= 2
        motion = _register(_even_contrast(first, 4), _even_contrast(second, 4), motion, 20)
    except cv2.error:  # the search left the image or the images are even: nothing in common
        return -1.0
    return _correlation(first, second, motion)


def _register(first: np.ndarray, second: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
    """The (2, 3) affine map from pixels of the second image to those of the first, begun at ``motion``."""
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    return cv2.findTransformECC(second, first, motion, cv2.MOTION_AFFINE, criteria, None, 5)[1]


def _correlation(first: np.ndarray, second: np.ndarray, motion: np.ndarray) -> float:
    """Of the detail where both images are; -1 where that is too little or the map bends too much."""
    if np.abs(motion[:, :2] - np.eye(2)).max() > _DISTORTION:
        return -1.0
    size, margin = second.shape[::-1], second.shape[0] // _MARGIN
    moved = cv2.warpAffine(
        first, motion, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    inside = np.zeros(first.shape, np.uint8)
    inside[margin:-margin, margin:-margin] = 1
    both = inside & cv2.warpAffine(inside, motion, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    if both.mean() < _OVERLAP:
        return -1.0
    chosen = both.astype(bool)
    return float(np.corrcoef(_detail(moved)[chosen], _detail(second)[chosen])[0, 1])


def _even_contrast(image: np.ndarray, sigma: float) -> np.ndarray:
    """The image without what is slower than ``sigma`` pixels, of about equal contrast everywhere."""
    values = image - cv2.GaussianBlur(image, (0, 0), sigma)
    return values / (np.sqrt(cv2.GaussianBlur(values * values, (0, 0), 2 * sigma)) + 1.0)


def _detail(image: np.ndarray) -> np.ndarray:
    """Structure of 2 to 6 pixels, of about equal contrast everywhere."""
    values = cv2.GaussianBlur(image, (0, 0), 0.7) - cv2.GaussianBlur(image, (0, 0), 2)
    return values / (np.sqrt(cv2.GaussianBlur(values * values, (0, 0), 4)) + 0.5)
