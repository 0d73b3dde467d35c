"""What is recorded of boxes, and shown of them in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foundationx.core.arrays import FARTHEST, AnyArray, Ragged, Recorded, check_array, check_ragged
from foundationx.core.errors import DataError
from foundationx.tasks.detection.prediction import DetectionExample, DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.table import TableRow

PAIRS = (("boxes", "box_classes"), ("true_boxes", "true_classes"), ("ignored_boxes", "ignored_classes"))
"""Names of boxes and of the classes that belong to them."""

SHOWN_SCORE = 0.3
"""Least score of a box that the report's pictures show."""


def record_truth(batch: DetectionBatch) -> dict[str, Recorded]:
    """``sizes``: (B, 2) height and width of the source images in pixels. ``true_boxes``, ``true_classes``: per image
    (T, 4) float32 x1 y1 x2 y2 in pixels of the source image and (T,) class indices. ``ignored_boxes``,
    ``ignored_classes``: likewise, regions in which a class is unknown."""
    sizes = np.array([(meta.height, meta.width) for meta in batch.metas])
    recorded: dict[str, Recorded] = {"sizes": sizes}
    for name, read in (("true", true_boxes), ("ignored", ignored_boxes)):
        boxes = [read(batch, index) for index in range(len(batch))]
        pixels = [corners * _scale(size) for (corners, _), size in zip(boxes, sizes, strict=True)]
        recorded |= {f"{name}_boxes": Ragged.of(pixels), f"{name}_classes": Ragged.of([own for _, own in boxes])}
    return recorded


def record_prediction(prediction: DetectionPrediction, batch: DetectionBatch) -> dict[str, Recorded]:
    """``boxes``, ``scores``, ``box_classes``: per image (Q, 4) float32 x1 y1 x2 y2 in pixels of the source image, (Q,)
    float32 in (0, 1] and (Q,) class indices. Boxes that were suppressed, with a score of 0, are not among them."""
    scale = np.stack([_scale((meta.height, meta.width)) for meta in batch.metas])
    kept = prediction.kept.numpy()
    counts = kept.sum(axis=1)
    boxes = prediction.relative_boxes.float().numpy() * scale[:, None]
    return {
        "boxes": Ragged(boxes[kept], counts),
        "scores": Ragged(prediction.scores.float().numpy()[kept], counts),
        "box_classes": Ragged(prediction.box_classes.numpy()[kept], counts),
    }


def record_rows(rows: Sequence[TableRow]) -> dict[str, Recorded]:
    """Boxes of one image in pixels of the source image, scores and classes, from the rows of a table."""
    boxes = []
    for row in rows:
        box = [row.number(name, -FARTHEST, FARTHEST) for name in ("x1", "y1", "x2", "y2")]
        if box[0] >= box[2] or box[1] >= box[3]:
            found = f"the box {box} has no area"
            raise DataError(row.where, found, "x1 < x2 and y1 < y2, in pixels of the image", "correct the table")
        boxes.append(box)
    return {
        "boxes": Ragged.of([np.array(boxes, dtype=np.float32).reshape(-1, 4)]),
        "scores": Ragged.of([np.array([row.number("score", 0, 1) for row in rows], dtype=np.float32)]),
        "box_classes": Ragged.of([np.array([row.class_index for row in rows], dtype=np.int64)]),
    }


def check(recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
    """Raises ValueError: boxes, scores, classes or sizes of N images are missing or do not belong together."""
    check_array(recorded["sizes"], (images, 2), 1, FARTHEST, "iu")
    for boxes, labels in PAIRS:
        corners, named = check_ragged(recorded[boxes], images), check_ragged(recorded[labels], images)
        check_array(corners.values, (None, 4), -FARTHEST, FARTHEST)
        check_array(named.values, (None,), 0, classes - 1, "iu")
        if not np.array_equal(corners.counts, named.counts):
            raise ValueError(f"{boxes} and {labels} differ in number")
    scores = check_ragged(recorded["scores"], images)
    check_array(scores.values, (None,), 0, 1)
    if not np.array_equal(scores.counts, check_ragged(recorded["boxes"], images).counts):
        raise ValueError("boxes and scores differ in number")


def example(prediction: DetectionPrediction, batch: DetectionBatch, index: int) -> DetectionExample:
    """Image ``index`` of a batch with its true boxes, and the predicted ones from a score of ``SHOWN_SCORE`` on."""
    image = batch.images[index, 0].numpy()
    scale = _scale(image.shape)
    corners, classes = true_boxes(batch, index)
    shown = prediction.scores[index] >= SHOWN_SCORE
    return DetectionExample(
        image=image,
        name=batch.metas[index].image,
        labels=batch.labels[index].numpy(),
        boxes=corners * scale,
        box_classes=classes,
        pred_boxes=prediction.relative_boxes[index][shown].numpy() * scale,
        pred_scores=prediction.scores[index][shown].numpy(),
        pred_classes=prediction.box_classes[index][shown].numpy(),
    )


def true_boxes(batch: DetectionBatch, index: int) -> tuple[AnyArray, AnyArray]:
    """True boxes (T, 4) x1 y1 x2 y2 as shares of the image, and their classes (T,), without the padding."""
    return _corners(batch.centred_boxes[index].numpy(), batch.box_classes[index].numpy())


def ignored_boxes(batch: DetectionBatch, index: int) -> tuple[AnyArray, AnyArray]:
    """Regions (M, 4) in which a class is unknown, and their classes (M,), likewise."""
    if batch.ignored_boxes is None or batch.ignored_classes is None:
        return np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
    return _corners(batch.ignored_boxes[index].numpy(), batch.ignored_classes[index].numpy())


def _corners(centred: AnyArray, classes: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Boxes as x1 y1 x2 y2 and their classes, without the padding."""
    boxes = centred[classes >= 0]
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1), classes[classes >= 0]


def _scale(size: AnyArray | tuple[int, ...]) -> AnyArray:
    """(4,) float32 that turns shares of an image of ``size`` (height, width) into pixels."""
    height, width = size
    return np.array([width, height, width, height], dtype=np.float32)
