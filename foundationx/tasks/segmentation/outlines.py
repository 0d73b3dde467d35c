"""Masks as outlines of as many points each, and outlines as masks (``docs/methods/unihead.md``, "2.2 Contours")."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from foundationx.core.geometry.lines import evenly_spaced
from foundationx.core.geometry.outlines import mask_outlines
from foundationx.core.types import UNKNOWN_PIXEL
from foundationx.tasks.points.assignment import Truth

LEAST_AREA = 5.0
"""Parts of a mask up to this area in pixels have no outline; whether something is there counts as unknown."""


def outline_truth(masks: np.ndarray, points: int, *, by_angle: bool = False) -> Truth:
    """Every part of every mask as a box with an outline. Holes are left out: an outline is filled.

    Args:
        masks: (B, K, H, W) uint8: 0, 1 or 255 (unknown).
        points: Points P of an outline.
        by_angle: Whether points are sorted by their angle around their centre (as released), which changes outlines
            that are not star-shaped.

    Returns:
        Boxes, outlines, known classes, and regions in which a class is unknown; on the host.
    """
    boxes, outlines, ignored = [], [], []
    for image in masks:
        parts = [part for kind, mask in enumerate(image) for part in _parts(mask, kind, points, by_angle)]
        boxes.append([(kind, _bounds(line)) for kind, line, is_large in parts if is_large])
        outlines.append([line for _, line, is_large in parts if is_large])
        small = [(kind, _bounds(line)) for kind, line, is_large in parts if not is_large]
        ignored.append(small + [row for kind, mask in enumerate(image) for row in _unknown(mask, kind)])
    scale = np.array(masks.shape[:1:-1], dtype=np.float32)  # width, height
    most = max(1, *map(len, outlines))
    lines = np.zeros((len(masks), most, points, 2), dtype=np.float32)
    for index, rows in enumerate(outlines):
        lines[index, : len(rows)] = np.asarray(rows).reshape(-1, points, 2) / scale
    known = torch.from_numpy((masks != UNKNOWN_PIXEL).any(axis=(2, 3)))
    return Truth(*_padded(boxes, scale), known, *_padded(ignored, scale), outlines=torch.from_numpy(lines))


def resampled(line: np.ndarray, points: int) -> np.ndarray:
    """A closed line (N, 2) as ``points`` points (P, 2) at equal steps along it, clockwise on the screen."""
    if _signed_area(line) < 0:
        line = line[::-1]
    return evenly_spaced(np.concatenate([line, line[:1]]), points + 1)[:-1]


def sorted_by_angle(line: np.ndarray) -> np.ndarray:
    """Points (P, 2) by their angle around their mean, clockwise on the screen, the first one left of it."""
    x, y = (line - line.mean(axis=0)).T
    return line[np.argsort(np.arctan2(y, x), kind="stable")]


def outline_distance(outlines: Tensor, truth: Tensor, unit: Tensor, *, in_order: bool = False) -> Tensor:
    """Mean absolute difference of the coordinates of outlines, at the best start of the true one.

    Args:
        outlines: (B, R, P, 2) as shares of the image.
        truth: (B, R, P, 2).
        unit: (B, R, 2), share of the image that counts as 1.
        in_order: Whether point belongs to point as they stand (as released).

    Returns:
        (B, R).
    """
    count = truth.shape[2]
    starts = 1 if in_order else count
    order = (torch.arange(count, device=truth.device) + torch.arange(starts, device=truth.device)[:, None]) % count
    difference = (outlines[:, :, None] - truth[:, :, order]).abs() / unit[:, :, None, None]
    return difference.mean(dim=(3, 4)).amin(dim=2)


def filled(outlines: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels whose centre lies inside of outlines (even-odd rule), for all of them at once.

    Each edge that crosses a row of pixel centres changes the state of all pixels right of the crossing.

    Args:
        outlines: (B, R, P, 2) as shares of the image.
        size: H, W.

    Returns:
        (B, R, H, W) bool.
    """
    height, width = size
    scale = torch.tensor([width, height], dtype=outlines.dtype, device=outlines.device)
    first = outlines * scale
    second = first.roll(-1, dims=2)
    rows = (torch.arange(height, device=outlines.device, dtype=outlines.dtype) + 0.5)[:, None]  # (H, 1)
    x0, y0, x1, y1 = (values[:, :, None] for pair in (first, second) for values in pair.unbind(-1))  # (B, R, 1, P)
    crosses = (y0 <= rows) != (y1 <= rows)
    share = (rows - y0) / torch.where(crosses, y1 - y0, 1.0)
    column = torch.floor(x0 + share * (x1 - x0) - 0.5) + 1  # the first pixel whose centre is right of the crossing
    column = torch.where(crosses, column, float(width)).clamp(0, width).long()
    # parity outlives an overflow; graphs of ONNX count in 32 bits only
    kind = torch.int32 if torch.compiler.is_exporting() else torch.int8
    changes = torch.zeros(*crosses.shape[:3], width + 1, dtype=kind, device=outlines.device)
    changes.scatter_add_(3, column, torch.ones_like(column, dtype=kind))
    return changes[..., :width].cumsum(3, dtype=kind) % 2 == 1


def painted(outlines: Tensor, probabilities: Tensor, classes: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """Masks (B, K, H, W) of ``count`` classes: at a pixel the largest probability of the outlines around it.

    Args:
        outlines: (B, R, P, 2).
        probabilities: (B, R).
        classes: (B, R) int64.
        count: K.
        size: H, W.
    """
    values = filled(outlines, size) * probabilities[:, :, None, None]
    masks = values.new_zeros(len(values), count, *size)
    return masks.scatter_reduce_(1, classes[:, :, None, None].expand_as(values), values, "amax")


def _parts(mask: np.ndarray, kind: int, points: int, by_angle: bool) -> list[tuple[int, np.ndarray, bool]]:
    """Class and outline (P, 2) in pixels of each part of a mask (H, W), and whether it is large enough."""
    parts = []
    for line in mask_outlines(mask == 1):
        even = resampled(line, points)
        is_large = abs(_signed_area(line)) > LEAST_AREA
        parts.append((kind, sorted_by_angle(even) if by_angle else even, is_large))
    return parts


def _signed_area(line: np.ndarray) -> float:
    """Area of a closed line (N, 2), positive if it runs clockwise on the screen (y downwards)."""
    x, y = line.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def _unknown(mask: np.ndarray, kind: int) -> list[tuple[int, np.ndarray]]:
    """Class and box of each unknown part of a mask that is known elsewhere."""
    unknown = mask == UNKNOWN_PIXEL
    if not unknown.any() or unknown.all():
        return []
    _, _, found, _ = cv2.connectedComponentsWithStats(unknown.astype(np.uint8))
    return [(kind, np.array([x, y, x + width, y + height])) for x, y, width, height, _ in found[1:]]


def _bounds(line: np.ndarray) -> np.ndarray:
    return np.concatenate([line.min(axis=0), line.max(axis=0)])


def _padded(rows: Sequence[Sequence[tuple[int, np.ndarray]]], scale: np.ndarray) -> tuple[Tensor, Tensor]:
    """Boxes (B, T, 4) as shares of the image and their classes (B, T), -1 in the padding; T is at least 1."""
    most = max(1, *map(len, rows))
    boxes = np.zeros((len(rows), most, 4), dtype=np.float32)
    classes = np.full((len(rows), most), -1, dtype=np.int64)
    for index, found in enumerate(rows):
        for number, (kind, box) in enumerate(found):
            boxes[index, number], classes[index, number] = box / np.tile(scale, 2), kind
    return torch.from_numpy(boxes), torch.from_numpy(classes)
