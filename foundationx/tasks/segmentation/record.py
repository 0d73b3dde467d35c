"""What is recorded of masks, and shown of them in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.arrays import Masks, Recorded, check_masks
from foundationx.core.types import UNKNOWN_PIXEL
from foundationx.tasks.segmentation.prediction import SegmentationExample, SegmentationPrediction
from foundationx.tasks.segmentation.target import SegmentationBatch
from foundationx.tasks.table import TableRow

MASKS = ("true_masks", "known_masks", "predicted_masks")

FOREGROUND = 0.5
"""Probability from which on a pixel counts as predicted."""


def record_truth(batch: SegmentationBatch) -> dict[str, Recorded]:
    """``true_masks``, ``known_masks``: K masks per image at the network's input size; a pixel is known unless the
    truth is unknown."""
    masks = batch.masks.numpy()
    return {"true_masks": Masks.encode(masks == 1), "known_masks": Masks.encode(masks != UNKNOWN_PIXEL)}


def record_prediction(prediction: SegmentationPrediction, batch: SegmentationBatch) -> dict[str, Recorded]:
    """``predicted_masks``: K masks per image at the network's input size."""
    return {"predicted_masks": Masks.encode(prediction.masks.numpy() >= FOREGROUND)}


def record_rows(rows: Sequence[TableRow], side: int, read_mask: Callable[[Path], np.ndarray]) -> dict[str, Recorded]:
    """``predicted_masks`` of one image from the rows of a table, one for each class; no file is an empty mask.

    Args:
        rows: Rows of the table.
        side: Side in pixels of the square at which masks are compared; files are stretched to it.
        read_mask: Reads a mask file: 0 is background; values up to 255 are probabilities in 255 steps if any is above
            1.
    """
    masks = np.zeros((1, len(rows), side, side), dtype=bool)
    for index, row in enumerate(rows):
        if (file := row.file("mask")) is not None:
            values = read_mask(file).astype(np.float32)
            share = values / 255 if values.max(initial=0) > 1 else values
            masks[0, index] = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR) >= FOREGROUND
    return {"predicted_masks": Masks.encode(masks)}


def check(recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
    """Raises ValueError: masks of N images and K classes are missing or differ in size."""
    sizes = [check_masks(recorded[name], images, classes).sizes for name in MASKS]
    if not all(np.array_equal(sizes[0], other) for other in sizes):
        raise ValueError("masks of an image differ in size")


def example(prediction: SegmentationPrediction, batch: SegmentationBatch, index: int) -> SegmentationExample:
    """Image ``index`` of a batch with its true and predicted masks."""
    return SegmentationExample(
        image=batch.images[index, 0].numpy(),
        name=batch.metas[index].image,
        labels=batch.labels[index].numpy(),
        masks=batch.masks[index].numpy(),
        pred_masks=(prediction.masks[index] >= FOREGROUND).numpy().astype(np.uint8),
    )
