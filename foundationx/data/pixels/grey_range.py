"""The values of an image that become black and white: not those of frames, markers or dead pixels."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.errors import DataError

TAIL = 0.02
"""Share of the pixels at either end that cannot widen the range by more than what all others take."""

LEVELS = 16
"""Images with fewer values (masks, drawings) are shown from the least to the greatest."""

SAMPLE = 2**18
"""Pixels that tell how wide the middle of the values is."""

GREATEST, LEAST = 1e37, 1e-36
"""Of a pixel's value, and of the width of a range: with these, what is computed is a number in single precision."""


def check_numbers(path: Path, values: np.ndarray) -> None:
    """Raises DataError if a pixel (H, W) is no number, or one too great for single precision."""
    if not np.isfinite(values).all():
        raise DataError(str(path), "holds pixels that are no numbers", "finite pixel values", "check its conversion")
    if values.dtype.kind == "f" and (greatest := float(np.abs(values).max(initial=0))) > GREATEST:
        found, expected = f"holds a pixel of {greatest:.3g}", f"pixel values up to {GREATEST:g}"
        raise DataError(str(path), found, expected, "check its conversion")


def grey_range(values: np.ndarray, outside: np.ndarray | None = None, framed: bool = True) -> tuple[float, float]:
    """The values that become 0 and 255.

    They are the least and the greatest value of the image, but for

    - pixels outside the film (``outside``), and rows and columns of one value at the image's edges (a frame);
    - values further from the middle 96 % of the pixels than these 96 % are wide: hot and dead pixels, burnt-in markers.
      The single least and greatest value do not count among the 96 %, so that a large area of one value (padding that
      no tag announces) does not set the range either.

    Args:
        values: Image (H, W), any finite numbers.
        outside: Pixels (H, W) bool that do not belong to the film.
        framed: Whether the image may have a frame; a window has cut its values if not.
    """
    inner = values if outside is None else values[~outside]
    inner = _without_frame(values) if framed and outside is None else inner
    inner = inner if inner.size else values
    low, high = float(inner.min()), float(inner.max())
    middle = _sample(inner)
    middle = middle[(middle > low) & (middle < high)]
    if len(np.unique(middle)) < LEVELS:
        return low, high
    first, last = (float(value) for value in np.quantile(middle, (TAIL, 1 - TAIL), method="nearest"))
    lowest, highest = first - (last - first), last + (last - first)
    low = low if low >= lowest else float(inner[inner >= lowest].min())
    high = high if high <= highest else float(inner[inner <= highest].max())
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def to_bytes(values: np.ndarray, outside: np.ndarray | None = None, framed: bool = True) -> np.ndarray:
    """Numbers (H, W) that :func:`check_numbers` lets through to uint8 by :func:`grey_range`.

    A constant image (the range is no wider than ``LEAST``) and pixels outside become 0.
    """
    low, high = grey_range(values, outside, framed)
    values = values.astype(np.float32)
    if high - low <= LEAST:
        return np.zeros(values.shape, dtype=np.uint8)
    np.clip(values, low, high, out=values)
    grey = cv2.convertScaleAbs((values - np.float32(low)) * (255.0 / (high - low)))
    if outside is not None:
        grey[outside] = 0
    return grey


def _sample(values: np.ndarray) -> np.ndarray:
    """At most about ``SAMPLE`` values (N,), evenly spaced."""
    step = math.ceil((values.size / SAMPLE) ** (1 / values.ndim))
    return values[(slice(None, None, step),) * values.ndim].ravel()


def _without_frame(values: np.ndarray) -> np.ndarray:
    """The image without the rows and columns of one value at its edges; empty if it is of one value."""
    top, bottom = _frame(values), values.shape[0] - _frame(values[::-1])
    inner = values[top : max(top, bottom)]
    left, right = _frame(inner.T), values.shape[1] - _frame(inner.T[::-1])
    inner = inner[:, left : max(left, right)]
    again = _frame(inner), _frame(inner[::-1])
    return inner[again[0] : max(again[0], len(inner) - again[1])]


def _frame(rows: np.ndarray) -> int:
    """How many rows at the beginning hold nothing but the value of the first pixel."""
    if not rows.size:
        return 0
    value = rows[0, 0]
    return next((number for number, row in enumerate(rows) if (row != value).any()), len(rows))
