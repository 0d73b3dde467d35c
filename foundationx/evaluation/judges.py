"""Feeds the metric of each task with batches, and picks examples for the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from foundationx.core.types import Batch, Example, MetricRow, Prediction, Split, Task, TaskKey
from foundationx.evaluation.metrics.auroc import Auroc
from foundationx.evaluation.metrics.average_precision import AveragePrecision
from foundationx.evaluation.metrics.dice import Dice
from foundationx.evaluation.recorder import FOREGROUND, true_boxes

SHOWN_SCORE = 0.3
"""Least score of a box kept for the report's pictures."""


class Judge:
    """Feeds the metric of one task with batches.

    Args:
        classes: of the head.
    """

    metric_class: type

    def __init__(self, classes: tuple[str, ...]):
        self.metric = self.metric_class(classes)

    def metric_rows(self, key: TaskKey, model: str, visit: int, split: Split) -> list[MetricRow]:
        """Scores with the names of what was evaluated."""
        return [
            MetricRow(key.dataset, key.task.value, s.metric, s.class_name, s.value, s.n, model, visit, split.value)
            for s in self.metric.rows()
        ]

    def curves(self) -> dict[str, Any]:
        """ROC curves by class, where the metric has them."""
        return {}


class _ClassificationJudge(Judge):
    """Feeds AUROC."""

    metric_class = Auroc

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """One batch."""
        self.metric.add(prediction.probabilities.numpy(), batch.labels.numpy())

    def curves(self) -> dict[str, Any]:
        """ROC curves by class."""
        return self.metric.curves()


class _DetectionJudge(Judge):
    """Feeds AP, in pixels of the source image."""

    metric_class = AveragePrecision

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """One batch."""
        for place, meta in enumerate(batch.metas):
            size = np.array([meta.width, meta.height, meta.width, meta.height], dtype=np.float32)
            corners, classes = true_boxes(batch, place)
            self.metric.add(
                prediction.boxes[place].numpy() * size,
                prediction.scores[place].numpy(),
                prediction.box_classes[place].numpy(),
                corners * size,
                classes,
                ~np.isnan(batch.labels[place].numpy()),
            )


class _SegmentationJudge(Judge):
    """Feeds Dice, at the network's resolution (as published: ``foundation_x.md`` section 4.1)."""

    metric_class = Dice

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """One batch."""
        self.metric.add(prediction.masks.numpy(), batch.masks.numpy())


JUDGES = {
    Task.CLASSIFICATION: _ClassificationJudge,
    Task.DETECTION: _DetectionJudge,
    Task.SEGMENTATION: _SegmentationJudge,
}


def examples_of(batch: Batch, prediction: Prediction, wanted: int) -> list[Example]:
    """The first ``wanted`` images of the batch with truth and prediction."""
    return [_example(batch, prediction, place) for place in range(min(wanted, len(batch)))]


def _example(batch: Batch, prediction: Prediction, place: int) -> Example:
    image = batch.images[place, 0].numpy()
    example = Example(image=image, name=batch.metas[place].image, labels=batch.labels[place].numpy())
    size = np.array([image.shape[1], image.shape[0]] * 2, dtype=np.float32)
    if prediction.probabilities is not None:
        example.probabilities = prediction.probabilities[place].numpy()
    if prediction.boxes is not None:
        boxes, example.box_classes = true_boxes(batch, place)
        example.boxes = boxes * size
        kept = prediction.scores[place] >= SHOWN_SCORE
        example.pred_boxes = prediction.boxes[place][kept].numpy() * size
        example.pred_scores = prediction.scores[place][kept].numpy()
        example.pred_classes = prediction.box_classes[place][kept].numpy()
    if prediction.masks is not None:
        example.masks = batch.masks[place].numpy()
        example.pred_masks = (prediction.masks[place] >= FOREGROUND).numpy().astype(np.uint8)
    return example
