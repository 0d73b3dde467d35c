"""Published run-length masks in one common form: absolute starts, counted from 0, and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import Runs

LARGEST = 2**31 - 1
"""Maximum pixel index; the largest image that can be read has fewer pixels."""


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
        text: Numbers separated by spaces.
        where: Location of the cell, for messages.
        relative: Whether starts count from the end of the previous run (SIIM-ACR, CANDID-PTX).
        first: Index of the first pixel: 0 or 1.
        order: Whether pixels are numbered along rows or down columns.
        height: Height of the mask in pixels; None: that of the image.
        width: Width of the mask in pixels; None: that of the image.

    Raises:
        DataError: Not pairs of whole numbers, a run of length 0, overlapping runs, or a run outside the mask.
    """
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise _error(where, f"{_short(text)} contains something that is not a whole number") from None
    if len(numbers) == 0 or len(numbers) % 2:
        raise _error(where, f"{_short(text)} contains {len(numbers)} numbers")
    starts, lengths = numbers[::2], numbers[1::2]
    if numbers.min() < 0 or numbers.max() > LARGEST or (lengths == 0).any():
        raise _error(where, f"{_short(text)} contains a run of length 0 or a number out of range")
    if relative:
        starts = np.cumsum(starts) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts = starts - first
    ends = starts + lengths
    size = height * width if height and width else LARGEST
    if starts[0] < 0 or (starts[1:] < ends[:-1]).any() or ends[-1] > size:
        raise _error(where, f"{_short(text)} has runs that overlap or lie outside the mask")
    return Runs(starts.astype(np.int32), lengths.astype(np.int32), order, height, width)


def runs_from_coco(value: Mapping[str, Any], where: str) -> Runs:
    """A COCO run-length mask: ``size`` and ``counts``, as numbers or compressed into a string.

    Raises:
        DataError: Not such a mask, or its counts do not add up to its size.
    """
    from pycocotools import mask as coco_mask

    size, counts = value.get("size"), value.get("counts")
    is_size = isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) and 0 < s < 2**16 for s in size)
    if not isinstance(size, list) or not is_size or not isinstance(counts, list | str):
        raise _error(where, f"segmentation is {str(dict(value))[:60]}", "size [height, width] and counts")
    height, width = size
    if isinstance(counts, str):
        try:
            mask = coco_mask.decode({"size": size, "counts": counts.encode("ascii")})
        except Exception as error:  # the decoder of pycocotools raises several kinds
            raise _error(where, f"counts cannot be decompressed ({error})") from None
        return runs_of_mask(mask)
    if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != height * width:
        raise _error(where, f"counts do not add up to {width} x {height} pixels")
    ends = np.cumsum(counts)
    starts, stops = ends[0::2], ends[1::2]
    starts = starts[: len(stops)]
    filled = stops > starts
    return Runs(starts[filled].astype(np.int32), (stops - starts)[filled].astype(np.int32), "columns", height, width)


def runs_of_mask(mask: np.ndarray) -> Runs:
    """Runs of a mask (H, W), down the columns."""
    flat = np.concatenate([[0], (mask > 0).ravel(order="F").astype(np.int8), [0]])
    changes = np.diff(flat)
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return Runs(starts.astype(np.int32), (ends - starts).astype(np.int32), "columns", mask.shape[0], mask.shape[1])


def bounding_box(runs: Runs, height: int, width: int) -> list[float]:
    """The box x1 y1 x2 y2 in pixels around a non-empty mask of ``height`` x ``width`` pixels."""
    line_length = width if runs.order == "rows" else height
    lines, last = runs.starts // line_length, (runs.starts + runs.lengths - 1) // line_length
    if (last > lines).any():  # a run that continues in the next line covers all positions
        low, high = 0, line_length
    else:
        low, high = int((runs.starts % line_length).min()), int((runs.starts % line_length + runs.lengths).max())
    first, end = int(lines.min()), int(last.max()) + 1
    box = (low, first, high, end) if runs.order == "rows" else (first, low, end, high)
    return [float(value) for value in box]


def _error(where: str, found: str, expected: str = "pairs of start and length") -> DataError:
    return DataError(where, found, expected, "fix the row, or correct relative and first in the card")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
