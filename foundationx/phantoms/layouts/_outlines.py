"""Masks as outlines and as run lengths."""

from __future__ import annotations

import cv2
import numpy as np


def outline(mask: np.ndarray) -> list[list[float]]:
    """The largest outline of a mask (H, W) bool, as x and y pairs; its box if it has fewer than three points."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(outlines, key=lambda line: (cv2.contourArea(line), len(line)))[:, 0].astype(float)
    if len(points) < 3 or np.ptp(points, axis=0).min() == 0:
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0) + 1
        return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
    return points.tolist()


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
