"""What is recorded of points, and shown of them in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foundationx.core.arrays import FARTHEST, AnyArray, Recorded, check_array
from foundationx.core.types import Batch
from foundationx.tasks.keypoints.prediction import KeypointsExample, KeypointsPrediction
from foundationx.tasks.keypoints.target import KeypointsBatch
from foundationx.tasks.table import TableRow


def record_truth(batch: KeypointsBatch) -> dict[str, Recorded]:
    """``sizes``: (B, 2) height and width of the source images in pixels. ``true_points``: (B, K, 2) float32 x y in
    pixels of the source image, NaN where no place is known. ``extents``: (B, 2) float32 width and height of the image
    in millimetres, NaN if they are unknown."""
    sizes = np.array([(meta.height, meta.width) for meta in batch.metas])
    return {"sizes": sizes, "true_points": batch.points.numpy() * _sides(batch), "extents": batch.extents.numpy()}


def record_prediction(prediction: KeypointsPrediction, batch: KeypointsBatch) -> dict[str, Recorded]:
    """``predicted_points``: (B, K, 2) float32 x y in pixels of the source image. ``probabilities``: (B, K) float32 in
    [0, 1], whether the point is visible."""
    return {
        "predicted_points": prediction.relative_points.float().numpy() * _sides(batch),
        "probabilities": prediction.visibilities.float().numpy(),
    }


def record_rows(rows: Sequence[TableRow]) -> dict[str, Recorded]:
    """A point in pixels of the source image and its visibility, from the rows of a table, one for each class."""
    points = [[row.number(name, -FARTHEST, FARTHEST) for name in ("x", "y")] for row in rows]
    return {
        "predicted_points": np.array([points], dtype=np.float32),
        "probabilities": np.array([[row.number("score", 0, 1) for row in rows]], dtype=np.float32),
    }


def check(recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
    """Raises ValueError: points, visibilities or sizes of N images and K points are missing or out of range."""
    check_array(recorded["sizes"], (images, 2), 1, FARTHEST, "iu")
    check_array(recorded["predicted_points"], (images, classes, 2), -FARTHEST, FARTHEST)
    check_array(recorded["probabilities"], (images, classes), 0, 1)
    for name, shape in (("true_points", (images, classes, 2)), ("extents", (images, 2))):
        value = recorded[name]
        known = np.nan_to_num(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
        check_array(known, shape, -FARTHEST, FARTHEST)


def example(prediction: KeypointsPrediction, batch: KeypointsBatch, index: int) -> KeypointsExample:
    """Image ``index`` of a batch with its true and predicted points."""
    image = batch.images[index, 0].numpy()
    sides = np.array(image.shape[::-1], dtype=np.float32)
    return KeypointsExample(
        image=image,
        name=batch.metas[index].image,
        labels=batch.labels[index].numpy(),
        points=batch.points[index].numpy() * sides,
        visible=batch.visible[index].numpy(),
        pred_points=prediction.relative_points[index].float().numpy() * sides,
        visibilities=prediction.visibilities[index].float().numpy(),
    )


def _sides(batch: Batch) -> AnyArray:
    """(B, 1, 2) float32, width and height of the source images in pixels."""
    return np.array([[(meta.width, meta.height)] for meta in batch.metas], dtype=np.float32)
