"""Evaluates every head, student and teacher in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from foundationx.data.device import Normaliser
from foundationx.data.loader import PooledDataset, in_order, make_loader, usable
from foundationx.data.sources import DataBook
from foundationx.evaluate.auroc import Auroc
from foundationx.evaluate.average_precision import AveragePrecision
from foundationx.evaluate.dice import Dice
from foundationx.evaluate.predictions import Predictions
from foundationx.evaluate.recorder import Recorder, true_boxes
from foundationx.evaluate.views import evaluate_views
from foundationx.model import FoundationModel
from foundationx.types import BadSample, Batch, Example, MetricRow, Prediction, Split, Task, TaskKey

SHOWN_SCORE = 0.3
"""Least score of a box kept for the report's pictures."""


@dataclass
class Evaluation:
    """What an evaluation found.

    Attributes:
        rows: metrics of every head and model.
        curves: ROC curves by head, of the last model evaluated.
        examples: images with truth and prediction by head, of the last model.
        bad: samples that could not be read.
        predictions: what every model said of every image, where it was asked for.
    """

    rows: list[MetricRow] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    examples: dict[TaskKey, list[Example]] = field(default_factory=dict)
    bad: list[BadSample] = field(default_factory=list)
    predictions: list[Predictions] = field(default_factory=list)


def evaluate(
    book: DataBook,
    models: Mapping[str, FoundationModel],
    split: Split,
    visit: int,
    progress: Callable[[TaskKey, int, int], None] = lambda key, done, total: None,
    *,
    record: bool = False,
) -> Evaluation:
    """Every head of every model on one side of the split.

    Args:
        book: the datasets.
        models: by name (student, teacher); curves and examples are kept of the last. They stay in evaluation mode.
        split: which side.
        visit: visits trained so far, written into the rows.
        progress: is told head, batches done and batches in all.
        record: keep the predictions of every image.

    Raises:
        DataError: a sample is bad and ``on_bad_sample`` is ``raise``.
    """
    found = Evaluation()
    for model in models.values():
        model.eval()
    pool = book.evaluation(split)
    for key in book.annotations:
        if len(book.indices[key][split]) and key.task is Task.SELF_SUPERVISION:
            rows, bad = evaluate_views(book, pool, models, split, visit, key, progress)
            found.rows += rows
            found.bad += bad
        elif len(book.indices[key][split]):
            _evaluate_head(book, pool, models, split, visit, key, progress, record, found)
    return found


def _evaluate_head(
    book: DataBook,
    pool: PooledDataset,
    models: Mapping[str, FoundationModel],
    split: Split,
    visit: int,
    key: TaskKey,
    progress: Callable[[TaskKey, int, int], None],
    record: bool,
    found: Evaluation,
) -> None:
    """One head of every model; adds to ``found``."""
    config = book.config
    device = next(next(iter(models.values())).parameters()).device
    normalise = Normaliser(config.model, device)
    judges = {name: _JUDGES[key.task](book.classes[key]) for name in models}
    recorders = {name: Recorder(key, book.classes[key]) for name in models if record}
    batches = in_order(key, book.indices[key][split], config.runtime.eval_batch_size)
    examples: list[Example] = []
    seen: set[str] = set()
    shown = list(models)[-1]
    loader = make_loader(pool, batches, config.runtime.workers, pin_memory=device.type == "cuda")
    for done, loaded in enumerate(loader, start=1):
        batch = _unseen(usable(loaded, config.runtime.on_bad_sample), seen)
        found.bad.extend(entry for entry in batch.bad if entry not in found.bad)
        if len(batch):
            images = normalise(batch.images.to(device, non_blocking=True))
            for name, model in models.items():
                with torch.no_grad():
                    prediction = _to_host(model.predict(images, key))
                judges[name].add(prediction, batch)
                if record:
                    recorders[name].add(prediction, batch)
                if name == shown:
                    wanted = config.evaluate.examples - len(examples)
                    examples += _examples(batch, prediction, wanted)
        progress(key, done, len(batches))
    for name, judge in judges.items():
        found.rows += judge.metric_rows(key, name, visit, split)
    kept = [recorder.predictions(name, split, visit) for name, recorder in recorders.items()]
    found.predictions += [predictions for predictions in kept if predictions is not None]
    if examples:
        found.examples[key] = examples
    if curves := judges[shown].curves():
        found.curves[str(key)] = {"model": shown, "split": split.value, "classes": curves}


class _Judge:
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


class _ClassificationJudge(_Judge):
    """Feeds AUROC."""

    metric_class = Auroc

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """One batch."""
        self.metric.add(prediction.probabilities.numpy(), batch.labels.numpy())

    def curves(self) -> dict[str, Any]:
        """ROC curves by class."""
        return self.metric.curves()


class _DetectionJudge(_Judge):
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


class _SegmentationJudge(_Judge):
    """Feeds Dice, at the network's resolution (as published: ``foundation_x.md`` section 4.1)."""

    metric_class = Dice

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """One batch."""
        self.metric.add(prediction.masks.numpy(), batch.masks.numpy())


_JUDGES = {
    Task.CLASSIFICATION: _ClassificationJudge,
    Task.DETECTION: _DetectionJudge,
    Task.SEGMENTATION: _SegmentationJudge,
}


def _unseen(batch: Batch, seen: set[str]) -> Batch:
    """The batch without images of ``seen``, which grows: the loader puts a neighbour where an image is unreadable."""
    places = []
    for place, meta in enumerate(batch.metas):
        if meta.image not in seen:
            seen.add(meta.image)
            places.append(place)
    if len(places) == len(batch):
        return batch
    tensors = {item.name: getattr(batch, item.name) for item in fields(batch)}
    chosen = {name: value[places] for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    return replace(batch, metas=tuple(batch.metas[place] for place in places), **chosen)


def _to_host(prediction: Prediction) -> Prediction:
    """The same prediction on the CPU."""
    values = {name: getattr(prediction, name) for name in Prediction.__dataclass_fields__}
    return Prediction(**{name: value.cpu() if value is not None else None for name, value in values.items()})


def _examples(batch: Batch, prediction: Prediction, wanted: int) -> list[Example]:
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
        example.pred_masks = (prediction.masks[place] >= 0.5).numpy().astype(np.uint8)
    return example
