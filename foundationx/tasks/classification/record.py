"""What is recorded of image labels, and shown of them in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foundationx.core.arrays import Recorded, check_array
from foundationx.core.types import Batch
from foundationx.tasks.classification.prediction import ClassificationExample, ClassificationPrediction
from foundationx.tasks.table import TableRow


def record_truth(batch: Batch) -> dict[str, Recorded]:
    """Nothing: the labels that every task records are the truth."""
    return {}


def record_prediction(prediction: ClassificationPrediction, batch: Batch) -> dict[str, Recorded]:
    """``probabilities``: (B, K) float32 in [0, 1]."""
    return {"probabilities": prediction.probabilities.float().numpy()}


def record_rows(rows: Sequence[TableRow]) -> dict[str, Recorded]:
    """``probabilities`` of one image from the rows of a table, one for each class."""
    return {"probabilities": np.array([[row.number("score", 0, 1) for row in rows]], dtype=np.float32)}


def check(recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
    """Raises ValueError: there are no probabilities of N images and K classes."""
    check_array(recorded["probabilities"], (images, classes), 0, 1)


def example(prediction: ClassificationPrediction, batch: Batch, index: int) -> ClassificationExample:
    """Image ``index`` of a batch with its probabilities."""
    return ClassificationExample(
        image=batch.images[index, 0].numpy(),
        name=batch.metas[index].image,
        labels=batch.labels[index].numpy(),
        probabilities=np.asarray(prediction.probabilities[index].numpy()),
    )
