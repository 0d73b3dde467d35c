"""Published run-length masks in one common form: absolute starts, counted from 0, and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.geometry.run_lengths import unpacked_counts
from foundationx.core.runs import Runs

LARGEST = 2**31 - 1
"""Maximum pixel index; the largest image that can be read has fewer pixels."""


COCO_FIX = "write the mask anew, for example with pycocotools.mask.encode, or remove the annotation"


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
    size = min(height * width, LARGEST) if height and width else LARGEST
    if starts[0] < 0 or (starts[1:] < ends[:-1]).any() or ends[-1] > size:
        raise _error(where, f"{_short(text)} has runs that overlap or lie outside the mask")
    return Runs(starts.astype(np.int32), lengths.astype(np.int32), order, height, width)


def text_of(runs: Runs, relative: bool, first: int) -> str:
    """The cell that :func:`runs_from_text` reads as these runs."""
    starts, lengths = (values.astype(np.int64) for values in runs.unpacked())
    starts = starts + first
    if relative:
        starts[1:] -= starts[:-1] + lengths[:-1]
    return " ".join(map(str, np.stack([starts, lengths], axis=1).ravel().tolist()))


def runs_from_coco(value: Mapping[str, Any], where: str) -> Runs:
    """A COCO run-length mask: ``size`` and ``counts``, as numbers or compressed into a string.

    Raises:
        DataError: Not such a mask, or its counts do not add up to its size.
    """
    size, given = value.get("size"), value.get("counts")
    whole = [_whole(number) for number in size] if isinstance(size, list | tuple) and len(size) == 2 else []
    if not whole or not all(number is not None and 0 < number < 2**16 for number in whole):
        raise _error(where, f"segmentation is {str(dict(value))[:60]}", "size [height, width] and counts")
    height, width = (int(number or 0) for number in whole)
    if height * width > LARGEST:
        raise _error(where, f"a mask of {width} x {height} pixels is too large", f"up to {LARGEST:,} pixels", COCO_FIX)
    if isinstance(given, str):
        try:
            counts = unpacked_counts(given.strip().encode("utf-8"))
        except ValueError as error:
            raise _error(where, f"counts {error}", "counts as COCO compresses them", COCO_FIX) from None
    elif isinstance(given, list) and all(_whole(count) is not None for count in given):
        counts = np.array([_whole(count) for count in given], dtype=np.int64)
    else:
        raise _error(where, f"segmentation is {str(dict(value))[:60]}", "size [height, width] and counts")
    if (counts < 0).any() or counts.sum() != height * width:
        raise _error(where, f"counts do not add up to {width} x {height} pixels", fix=COCO_FIX)
    ends = np.cumsum(counts)
    starts, stops = ends[0::2], ends[1::2]
    starts = starts[: len(stops)]
    filled = stops > starts
    return Runs(starts[filled].astype(np.int32), (stops - starts)[filled].astype(np.int32), "columns", height, width)


def _whole(number: object) -> int | None:
    """A whole number that may be written as 64.0; None for anything else, or one that is larger than any mask."""
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) and abs(number) <= LARGEST else None


def bounding_box(runs: Runs, height: int, width: int) -> list[float]:
    """The box x1 y1 x2 y2 in pixels around a non-empty mask of ``height`` x ``width`` pixels."""
    starts, lengths = runs.unpacked()
    line_length = width if runs.order == "rows" else height
    lines, inside = np.divmod(starts, line_length)
    ends = inside + lengths
    low, high = int(inside.min()), int(ends.max())
    last = lines
    if high > line_length:  # a run that continues in the next line covers all positions
        low, high, last = 0, line_length, (starts + lengths - 1) // line_length
    first, end = int(lines.min()), int(last.max()) + 1
    box = (low, first, high, end) if runs.order == "rows" else (first, low, end, high)
    return [float(value) for value in box]


def _error(
    where: str,
    found: str,
    expected: str = "pairs of start and length",
    fix: str = "fix the row, or correct relative and first in the card",
) -> DataError:
    return DataError(where, found, expected, fix)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
