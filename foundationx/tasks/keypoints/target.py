"""Points of one image and of a batch: checked against the image, resized, moved with the pixels, collated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from foundationx.core.types import Batch, Move, ReferenceSize
from foundationx.tasks.definition import OUTSIDE_TOLERANCE, SourceImage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Points:
    """The named points of one image.

    Attributes:
        points: (K, 2) float32 x y in pixels from the image's corner; NaN where no place is known.
        visible: (K,) float32, tri-state: 1 the point is in the image, 0 it is not, NaN that is unknown. A point whose
            place is unknown may be visible all the same.
        spacing: (2,) float32 millimetres per pixel across and down; NaN if they are unknown.
    """

    points: np.ndarray
    visible: np.ndarray
    spacing: np.ndarray

    def resized(self, size: tuple[int, int], side: int) -> Self:
        """Points of the image of ``size`` (height, width) after it was stretched to a square of ``side`` pixels."""
        scale = np.array([side / size[1], side / size[0]], dtype=np.float32)
        return type(self)(self.points * scale, self.visible, self.spacing / scale)

    def moved(self, move: Move) -> Self:
        """Points of the view. One that has left it is not visible there, and of one without a place nobody knows."""
        points = move.points(self.points)
        has_place = np.isfinite(self.points).all(axis=1)
        outside = has_place & ((points < 0) | (points > move.size)).any(axis=1)
        visible = np.where(outside, np.float32(0), self.visible)
        visible[~has_place & (self.visible > 0)] = np.nan
        points[outside] = np.nan
        return type(self)(points, visible, np.full_like(self.spacing, np.nan))

    def mirrored(self, order: np.ndarray) -> Self:
        """Points of a flipped image, in which sides have changed places."""
        return type(self)(self.points[order], self.visible[order], self.spacing)


@dataclass(slots=True, kw_only=True)
class KeypointsBatch(Batch):
    """Images with points.

    Attributes:
        points: (B, K, 2) float32 x y as shares of the image; NaN where no place is known.
        visible: (B, K) float32, tri-state.
        extents: (B, 2) float32, width and height of the image in millimetres; NaN if they are unknown.
    """

    points: Tensor
    visible: Tensor
    extents: Tensor


def published(parts: Mapping[str, Any]) -> Points:
    """Points as a reader gives them, not checked yet: ``points`` (K, 2) and, if it is known, ``spacing``."""
    points = np.asarray(parts["points"], dtype=np.float32).reshape(-1, 2)
    spacing = np.asarray(parts.get("spacing", (np.nan, np.nan)), dtype=np.float32)
    visible = np.where(np.isfinite(points).all(axis=1), np.float32(1), np.float32(np.nan))
    return Points(points, visible, spacing)


def scaled(points: Points, reference: ReferenceSize, size: tuple[int, int]) -> Points:
    """Points in pixels of ``reference``, in those of a copy of the image of another ``size`` (height, width).

    What lies beyond the reference within its tolerance is moved to the rim first: enlarged, it would lie outside.
    """
    limits = np.array([reference.width, reference.height], dtype=np.float32)
    factor = np.array([size[1], size[0]], dtype=np.float32) / limits
    inside = np.clip(points.points, 0, limits)
    is_near = np.abs(points.points - inside) <= reference.tolerance
    return replace(points, points=np.where(is_near, inside, points.points) * factor, spacing=points.spacing / factor)


def checked(points: Points, source: SourceImage) -> Points:
    """Published points clipped to their image, with what its labels say of them.

    Raises:
        DataError: A point lies outside.
    """
    height, width = source.size
    has_place = np.isfinite(points.points).all(axis=1) & (source.labels > 0)
    inside = np.clip(points.points, 0, np.array([width, height], dtype=np.float32))
    far_out = has_place & (np.abs(points.points - inside) > OUTSIDE_TOLERANCE).any(axis=1)
    if far_out.any():
        raise source.outside(f"the point {points.points[far_out][0].tolist()} (x, y)")
    return Points(np.where(has_place[:, None], inside, np.float32(np.nan)), source.labels.copy(), points.spacing)


def collate(common: Mapping[str, Any], targets: Sequence[Points], size: tuple[int, int]) -> KeypointsBatch:
    """Points become shares of the image of ``size`` (height, width)."""
    import torch

    sides = np.array([size[1], size[0]], dtype=np.float32)
    shares = np.stack([target.points for target in targets]) / sides
    visible = np.stack([target.visible for target in targets])
    extents = np.stack([target.spacing for target in targets]) * sides
    tensors = [torch.from_numpy(array.astype(np.float32, copy=False)) for array in (shares, visible, extents)]
    return KeypointsBatch(**common, points=tensors[0], visible=tensors[1], extents=tensors[2])
