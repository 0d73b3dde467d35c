"""What one would mark in an image without looking at it: the mean training mask of every class, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle

from foundationx.core.arrays import AnyArray, Masks, Recorded
from foundationx.core.types import UNKNOWN_PIXEL
from foundationx.tasks.segmentation.target import SegmentationBatch


def learn(batches: Iterable[SegmentationBatch], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The mean training mask of every class: the pixels that are true in at least half of the images that know them.

    Returns:
        By class ``size``: height and width in pixels; ``counts``: the mask, run by run, in COCO's notation.
    """
    true: AnyArray | None = None
    known: AnyArray | None = None
    for batch in batches:
        masks = batch.masks.numpy()
        sums = [(masks == 1).sum(axis=0), (masks != UNKNOWN_PIXEL).sum(axis=0)]
        true, known = sums if true is None or known is None else (true + sums[0], known + sums[1])
    if true is None or known is None:
        return {}
    mean = (2 * true >= known) & (true > 0)
    coded = rle.encode(np.asfortranarray(mean.transpose(1, 2, 0).astype(np.uint8)))
    return {
        name: {"size": [int(side) for side in mask["size"]], "counts": mask["counts"].decode("ascii")}
        for name, mask in zip(classes, coded, strict=True)
    }


def answer(learned: Mapping[str, Mapping[str, Any]], classes: Sequence[str], sizes: AnyArray) -> dict[str, Recorded]:
    """``predicted_masks``: the same for every image, in pixels of its masks, whose sizes are (N, 2)."""
    return {"predicted_masks": _repeated([learned.get(name) for name in classes], sizes)}


def nothing(classes: Sequence[str], sizes: AnyArray) -> dict[str, Recorded]:
    """``predicted_masks``: empty ones."""
    return {"predicted_masks": _repeated([None] * len(classes), sizes)}


def _repeated(stored: Sequence[Mapping[str, Any] | None], sizes: AnyArray) -> Masks:
    """One mask per class for every image; None is an empty one."""
    by_size: dict[tuple[int, int], Masks] = {}
    parts = []
    for height, width in np.asarray(sizes).tolist():
        size = (height, width)
        if size not in by_size:
            by_size[size] = Masks.encode(np.stack([_mask(mask, size) for mask in stored])[None])
        parts.append(by_size[size])
    return Masks(
        np.concatenate([part.runs for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.sizes for part in parts]),
    )


def _mask(stored: Mapping[str, Any] | None, size: tuple[int, int]) -> AnyArray:
    """A stored mask (H, W) bool at some ``size`` (height, width)."""
    if stored is None:
        return np.zeros(size, dtype=bool)
    mask = rle.decode({"size": stored["size"], "counts": stored["counts"].encode("ascii")})
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
