"""Run-length masks as published, turned into one form: absolute starts from 0, and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Runs

LARGEST = 2**31 - 1
"""Greatest pixel number; the largest image that is read has fewer pixels."""


def runs_from_text(
    text: str,
    where: str,
    *,
    relative: bool,
    first: int,
    order: Literal["rows", "columns"],
    height: int | None,
    width: int | None,
) -> Runs:
    """A run-length mask from a cell: ``start length start length ...``.

    Args:
        text: numbers separated by spaces.
        where: place of the cell, for messages.
        relative: a start counts from the end of the run before it (SIIM-ACR, CANDID-PTX).
        first: number of the first pixel: 0 or 1.
        order: pixels are numbered along rows, or down the columns.
        height: of the mask in pixels; the image's where it is None.
        width: of the mask in pixels; the image's where it is None.

    Raises:
        DataError: no pairs of whole numbers, a run of length 0, runs that overlap, or a run outside the mask.
    """
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise _fault(where, f"{_short(text)} holds something that is no whole number") from None
    if len(numbers) == 0 or len(numbers) % 2:
        raise _fault(where, f"{_short(text)} holds {len(numbers)} numbers")
    starts, lengths = numbers[::2], numbers[1::2]
    if numbers.min() < 0 or numbers.max() > LARGEST or (lengths == 0).any():
        raise _fault(where, f"{_short(text)} holds a run of no length or a number out of range")
    if relative:
        starts = np.cumsum(starts) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts = starts - first
    ends = starts + lengths
    size = height * width if height and width else LARGEST
    if starts[0] < 0 or (starts[1:] < ends[:-1]).any() or ends[-1] > size:
        raise _fault(where, f"{_short(text)} has runs that overlap or lie outside the mask")
    return Runs(starts.astype(np.int32), lengths.astype(np.int32), order, height, width)


def runs_from_coco(value: Mapping[str, Any], where: str) -> Runs:
    """A COCO run-length mask: ``size`` and ``counts``, as numbers or packed into a string.

    Raises:
        DataError: it is neither, or its counts do not fill its size.
    """
    from pycocotools import mask as coco_mask

    size, counts = value.get("size"), value.get("counts")
    good_size = isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) and 0 < s < 2**16 for s in size)
    if not good_size or not isinstance(counts, list | str):
        raise _fault(where, f"segmentation is {str(dict(value))[:60]}", "size [height, width] and counts")
    height, width = size
    if isinstance(counts, str):
        try:
            mask = coco_mask.decode({"size": size, "counts": counts.encode("ascii")})
        except Exception as error:  # the decoder of pycocotools raises several kinds
            raise _fault(where, f"counts cannot be unpacked ({error})") from None
        return runs_of_mask(mask)
    if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != height * width:
        raise _fault(where, f"counts do not fill {width} x {height} pixels")
    ends = np.cumsum(counts)
    starts, stops = ends[0::2], ends[1::2]
    starts = starts[: len(stops)]
    filled = stops > starts
    return Runs(starts[filled].astype(np.int32), (stops - starts)[filled].astype(np.int32), "columns", height, width)


def runs_of_mask(mask: np.ndarray) -> Runs:
    """The runs of a mask (H, W), down the columns."""
    flat = np.concatenate([[0], (mask > 0).ravel(order="F").astype(np.int8), [0]])
    changes = np.diff(flat)
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return Runs(starts.astype(np.int32), (ends - starts).astype(np.int32), "columns", *mask.shape)


def bounds(runs: Runs) -> list[float]:
    """The box x1 y1 x2 y2 in pixels around a mask of known size that is not empty."""
    across = runs.width if runs.order == "rows" else runs.height
    lines, last = runs.starts // across, (runs.starts + runs.lengths - 1) // across
    if (last > lines).any():  # a run that goes on in the next line covers all positions
        low, high = 0, across
    else:
        low, high = int((runs.starts % across).min()), int((runs.starts % across + runs.lengths).max())
    first, end = int(lines.min()), int(last.max()) + 1
    box = (low, first, high, end) if runs.order == "rows" else (first, low, end, high)
    return [float(value) for value in box]


def _fault(where: str, found: str, expected: str = "pairs of start and length") -> DataError:
    return DataError(where, found, expected, "fix the row, or correct relative and first in the card")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
