"""Evaluates every head, student and teacher, in one pass over the images.

One path leads from a model to its figures: predictions of every image are recorded batch by batch, and all metrics are
statistics of them. An image file is decoded once for all heads that use it, and passes through each model's backbone
once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundationx.core.tensors import map_tensors
from foundationx.core.types import BadSample, Batch, Example, MetricRow, Prediction, Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import AGAIN, make_loader, read_all, usable
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.images import Loaded, SharedImages, collate_heads, image_batches
from foundationx.evaluation.measure import curves, metric_rows
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.recorder import Recorder, SpillFolder
from foundationx.evaluation.thresholds import Thresholds, choose_thresholds, with_thresholds
from foundationx.evaluation.trivial import Trivial, trivial_rows
from foundationx.evaluation.views import evaluate_views
from foundationx.models.compile import is_compiled, predict_full
from foundationx.models.foundation_model import FoundationModel


@dataclass
class Evaluation:
    """Result of an evaluation on one split.

    Attributes:
        rows: All metrics of every head and model.
        curves: Curves by head, of the last model.
        examples: Images with truth and prediction by head, of the last model.
        bad: Samples that could not be read.
        predictions: Predictions of every annotated head and model, in the order of ``rows``.
        thresholds: Thresholds of image labels by head, model and class: chosen here if this is the validation split,
            else those that the metrics were computed with.
    """

    rows: list[MetricRow] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    examples: dict[TaskKey, list[Example]] = field(default_factory=dict)
    bad: list[BadSample] = field(default_factory=list)
    predictions: list[Predictions] = field(default_factory=list)
    thresholds: Thresholds = field(default_factory=dict)


def evaluate(
    data_module: DataModule,
    models: Mapping[str, FoundationModel],
    split: Split,
    visit: int,
    progress: Callable[[TaskKey, int, int], None] = lambda key, done, total: None,
    *,
    thresholds: Thresholds | None = None,
    spill: Path | None = None,
    trivial: Trivial | None = None,
) -> Evaluation:
    """Evaluates every head of every model on one split.

    Args:
        data_module: Datasets of the run.
        models: Models by name (student, teacher); curves and examples are those of the last. They stay in evaluation
            mode.
        split: Split to evaluate.
        visit: Visits trained so far, written into the rows.
        progress: Called with head, batches done and batches in all.
        thresholds: Thresholds of image labels that were chosen on validation.
        spill: Folder for predictions that do not stay in memory; the system's temporary folder if None.
        trivial: What is known without an image (``trivial.py``); its rows follow those of each head's models.

    Raises:
        DataError: A sample is bad and ``on_bad_sample`` is ``raise``, or a head has no image that can be read.
        DiskError: The disk does not take the predictions.
    """
    evaluation = Evaluation(thresholds=dict(thresholds or {}))
    for model in models.values():
        model.eval()
    heads = _predict_all(data_module, models, split, progress, SpillFolder(spill), evaluation.bad)
    for key in data_module.annotations:
        if key in heads:
            _measure_head(heads[key], evaluation, split, visit)
            if trivial is not None and evaluation.predictions and evaluation.predictions[-1].key == key:
                evaluation.rows += trivial_rows(trivial, evaluation.predictions[-1])
        elif len(data_module.indices[key][split]):
            rows, bad = evaluate_views(data_module, data_module.evaluation(split), models, split, visit, key, progress)
            evaluation.rows += rows
            evaluation.bad += bad
    return evaluation


def measure(predictions: Iterable[Predictions], thresholds: Thresholds | None = None) -> Evaluation:
    """All metrics of predictions that are there already.

    Args:
        predictions: Predictions of any heads, models and splits.
        thresholds: Thresholds of image labels by head and model, for those that have no validation predictions here.
    """
    evaluation = Evaluation(thresholds=dict(thresholds or {}))
    for entry in sorted(predictions, key=lambda entry: entry.split is not Split.VAL):
        _measure(entry, evaluation)
    return evaluation


def _measure(predictions: Predictions, evaluation: Evaluation) -> None:
    """Adds the predictions, their metrics, and thresholds if they are validation's."""
    name = (predictions.key, predictions.model)
    if predictions.split is Split.VAL:
        evaluation.thresholds[name] = choose_thresholds(predictions)
    else:
        predictions = with_thresholds(predictions, evaluation.thresholds.get(name, {}))
    evaluation.predictions.append(predictions)
    evaluation.rows += metric_rows(predictions)


def _measure_head(head: _Head, evaluation: Evaluation, split: Split, visit: int) -> None:
    """Adds predictions, metrics, curves and examples of one head."""
    for predictions in head.recorder.predictions(split, visit):
        _measure(predictions, evaluation)
    if head.examples:
        evaluation.examples[head.key] = head.examples
    if by_class := curves(evaluation.predictions[-1]):
        evaluation.curves[str(head.key)] = {"model": head.shown, "split": split.value, "classes": by_class}


def _predict_all(
    data_module: DataModule,
    models: Mapping[str, FoundationModel],
    split: Split,
    progress: Callable[[TaskKey, int, int], None],
    folder: SpillFolder,
    bad: list[BadSample],
) -> dict[TaskKey, _Head]:
    """Every annotated head that has images, with what all models predict; adds what is wrong to ``bad``."""
    config = data_module.config
    device = next(next(iter(models.values())).parameters()).device
    normalise = Normaliser(config.model, device)
    batches = image_batches(data_module, split, config.runtime.eval_batch_size)
    keys = [tuple(ref.key for ref in refs[0]) for refs in batches]
    heads = {
        key: _Head(
            Recorder(key, data_module.classes[key], list(models), folder),
            config.evaluate.examples,
            sum(key in b for b in keys),
        )
        for key in data_module.annotations
        if any(key in of_batch for of_batch in keys)
    }
    images = SharedImages(data_module.evaluation(split))
    loader = make_loader(images, batches, config.runtime.workers, device.type == "cuda", collate_heads)
    for refs, of_batch, loaded in zip(batches, keys, read_all(loader, "evaluation", AGAIN), strict=True):
        good = _usable(loaded, config.runtime.on_bad_sample, bad)
        for together in _of_same_images(good, len(refs)):
            pixels = normalise(together[0].images.to(device, non_blocking=True))
            _predict_batches(models, pixels, together, heads, config.runtime.eval_batch_size)
        for key in of_batch:
            heads[key].done += 1
            progress(key, heads[key].done, heads[key].batches)
    _check_seen(heads, config.runtime.on_bad_sample, bad)
    return heads


def _predict_batches(
    models: Mapping[str, FoundationModel],
    pixels: Tensor,
    batches: Sequence[Batch],
    heads: Mapping[TaskKey, _Head],
    size: int,
) -> None:
    """Adds every model's predictions of the same images for several heads."""
    keys = [batch.key for batch in batches]
    predicted: dict[TaskKey, dict[str, Prediction]] = {key: {} for key in keys}
    for name, model in models.items():
        for key, prediction in predict_each(model, pixels, keys, size).items():
            predicted[key][name] = map_tensors(prediction, Tensor.cpu)
    for batch in batches:
        heads[batch.key].add(predicted[batch.key], batch)


class _Head:
    """One head during an evaluation: what is recorded and shown of it.

    Args:
        recorder: Records truth and predictions.
        examples: Number of images stored for the report, with the last model's predictions.
        batches: Number of batches in which the head has images.
    """

    def __init__(self, recorder: Recorder, examples: int, batches: int):
        self.key, self.recorder, self.batches = recorder.key, recorder, batches
        self.done = self.images = 0
        self.requested, self.shown = examples, ""
        self.examples: list[Example] = []

    def add(self, predictions: Mapping[str, Prediction], batch: Batch) -> None:
        """One batch on the host, with the prediction of each model."""
        self.recorder.add(predictions, batch)
        self.images += len(batch)
        self.shown = list(predictions)[-1]
        missing = min(self.requested - len(self.examples), len(batch))
        self.examples += [self.recorder.task.example(predictions[self.shown], batch, index) for index in range(missing)]


def predict_each(
    model: FoundationModel, images: Tensor, keys: Sequence[TaskKey], size: int
) -> dict[TaskKey, Prediction]:
    """Predictions of several heads for the same images, with one pass through the backbone.

    Compiled models run head by head, because the compiled part begins with the images.

    Args:
        model: Model in evaluation mode.
        images: (B, 3, H, W) normalised images.
        keys: Heads to run.
        size: Number of images of a full batch.
    """
    with torch.no_grad():
        if not isinstance(model, FoundationModel):
            return {key: model.predict(images, key) for key in keys}
        if is_compiled(model.backbone):
            return {key: predict_full(model, images, key, size) for key in keys}
        features = model.backbone(images)
        return {key: model.predict(images, key, features) for key in keys}


def _usable(loaded: Sequence[Loaded], on_bad_sample: str, bad: list[BadSample]) -> list[Batch]:
    """The heads' batches that have images; adds what is wrong to ``bad``. Raises DataError as ``usable`` does."""
    good = []
    for batch in loaded:
        faults = batch.bad if isinstance(batch, Batch) else batch
        bad.extend(entry for entry in faults if entry not in bad)
        if isinstance(batch, Batch) or on_bad_sample == "raise":
            good.append(usable(batch, on_bad_sample))
    return good


def _of_same_images(batches: Sequence[Batch], images: int) -> list[list[Batch]]:
    """Batches with all ``images`` together, and each other batch alone: it lacks the images its head cannot use."""
    complete = [batch for batch in batches if len(batch) == images]
    return ([complete] if complete else []) + [[batch] for batch in batches if len(batch) < images]


def _check_seen(heads: Mapping[TaskKey, _Head], on_bad_sample: str, bad: Sequence[BadSample]) -> None:
    """Raises DataError if a head could not use a single image."""
    for key, head in heads.items():
        if not head.images:
            usable(
                tuple(entry for entry in bad if (entry.dataset, entry.task) == (key.dataset, key.task.value)),
                on_bad_sample,
            )
