"""Masks as outlines, as run lengths and as their middle."""

from __future__ import annotations

import numpy as np

from foundationx.core.geometry.outlines import mask_outlines


def outline(mask: np.ndarray) -> list[list[float]]:
    """The largest outline of a mask (H, W) bool, as x and y pairs."""
    points: list[list[float]] = mask_outlines(mask)[0].tolist()
    return points


def centre(mask: np.ndarray) -> tuple[float, float]:
    """x and y of the middle of a mask (H, W) bool, not empty, in pixels from the image's corner."""
    y, x = (float(axis.mean()) + 0.5 for axis in np.nonzero(mask))
    return x, y


def runs(mask: np.ndarray, *, relative: bool, first: int, order: str) -> str:
    """A mask (H, W) bool, not empty, as ``start length start length ...``.

    Args:
        mask: Mask to write.
        relative: Whether a start is relative to the end of the run before it.
        first: Number of the first pixel.
        order: Order of the pixels, ``rows`` or ``columns``.
    """
    flat = mask.ravel(order="C" if order == "rows" else "F").astype(np.int8)
    changes = np.diff(np.concatenate([[0], flat, [0]]))
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    shown = starts - np.concatenate([[0], ends[:-1]]) if relative else starts
    shown = shown + first * (not relative) + (first if relative else 0) * (np.arange(len(shown)) == 0)
    return " ".join(f"{start} {length}" for start, length in zip(shown, ends - starts, strict=True))
