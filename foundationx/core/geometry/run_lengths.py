"""Run lengths as COCO compresses them."""

from __future__ import annotations

import numpy as np

_DIGITS = 7
"""Groups of five bits of the largest count."""


def unpacked_counts(letters: bytes) -> np.ndarray:
    """Counts (n,) int64 of compressed ones: of pixels outside and inside in turn, down the columns.

    COCO writes each count in groups of five bits, the least first, one letter per group from ``0`` on; a sixth bit
    marks that another group follows, and the highest bit of the last group is the sign. From the fourth count on, a
    count is given by its difference from the one two before. pycocotools reads such text without comparing it with the
    size of the mask: what is missing is then whatever the memory holds.

    Raises:
        ValueError: No such text, or it is cut off within a count.
    """
    values = np.frombuffer(letters, dtype=np.uint8).astype(np.int64) - 48
    last = (values & 32) == 0
    if not len(values) or (values < 0).any() or (values > 63).any() or not last[-1]:
        raise ValueError("are no compressed run lengths, or are cut off")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    digits = np.diff(np.append(starts, len(values)))
    if digits.max() > _DIGITS:
        raise ValueError("contain a number out of range")
    position = np.arange(len(values)) - np.repeat(starts, digits)
    counts = np.add.reduceat((values & 31) << (5 * position), starts)
    counts -= (values[last] >> 4 & 1) << (5 * digits)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts


def filled(counts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of counts that fill it.

    Args:
        counts: (n,) pixels outside and inside in turn, down the columns.
        size: Height and width in pixels.
    """
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size[1], size[0]).T
