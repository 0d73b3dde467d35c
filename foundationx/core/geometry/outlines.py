"""Outlines of masks as polygons along the edges of their pixels, as COCO counts coordinates."""

from __future__ import annotations

import cv2
import numpy as np


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outer outlines of a mask, from the largest area to the smallest; holes are left out.

    Rasterised as pycocotools does, the outlines of a mask without holes give the mask again: a pixel reaches from x to
    x + 1, so a square of 8 x 8 pixels has sides of 8.

    Args:
        mask: (H, W), any but 0 is foreground.

    Returns:
        Polygons (P, 2) float64, x and y in pixels.
    """
    doubled = np.kron((mask != 0).astype(np.uint8), np.ones((2, 2), np.uint8))
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # Pixel x is 2 x and 2 x + 1 here: its left edge is x, its right edge x + 1.
    corners = [_without_repeats((line[:, 0] + 1) // 2) for line in found]
    return [line.astype(np.float64) for line in sorted(corners, key=cv2.contourArea, reverse=True)]


def _without_repeats(points: np.ndarray) -> np.ndarray:
    """The points (P, 2) int of a closed line that are not the same as the one before, nor on the way to the next."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    steps = np.sign(points - np.roll(points, 1, axis=0))
    return points[(steps != np.roll(steps, -1, axis=0)).any(axis=1)]
