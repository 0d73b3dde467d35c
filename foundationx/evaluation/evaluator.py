"""Evaluates every head, student and teacher, in one pass over the images.

An image file is decoded once for all heads that look at it, and each model's backbone looks at it once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from foundationx.core.tensors import map_tensors
from foundationx.core.types import BadSample, Batch, Example, MetricRow, Prediction, Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import make_loader, usable
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.images import Loaded, SharedImages, collate_heads, image_batches
from foundationx.evaluation.judges import JUDGES, examples_of
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.recorder import Recorder
from foundationx.evaluation.views import evaluate_views
from foundationx.models.compile import is_compiled, predict_full
from foundationx.models.foundation_model import FoundationModel


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
    data_module: DataModule,
    models: Mapping[str, FoundationModel],
    split: Split,
    visit: int,
    progress: Callable[[TaskKey, int, int], None] = lambda key, done, total: None,
    *,
    record: bool = False,
) -> Evaluation:
    """Every head of every model on one side of the split.

    Args:
        data_module: the datasets.
        models: by name (student, teacher); curves and examples are kept of the last. They stay in evaluation mode.
        split: which side.
        visit: visits trained so far, written into the rows.
        progress: is told head, batches done and batches in all.
        record: keep the predictions of every image.

    Raises:
        DataError: a sample is bad and ``on_bad_sample`` is ``raise``, or a head has no image that can be read.
    """
    found = Evaluation()
    for model in models.values():
        model.eval()
    heads = _look(data_module, models, split, progress, record, found.bad)
    for key in data_module.annotations:
        if key in heads:
            heads[key].add_to(found, split, visit)
        elif len(data_module.indices[key][split]):
            rows, bad = evaluate_views(data_module, data_module.evaluation(split), models, split, visit, key, progress)
            found.rows += rows
            found.bad += bad
    return found


def _look(
    data_module: DataModule,
    models: Mapping[str, FoundationModel],
    split: Split,
    progress: Callable[[TaskKey, int, int], None],
    record: bool,
    bad: list[BadSample],
) -> dict[TaskKey, _Head]:
    """All annotated heads that have images, after the models looked at them; adds what is wrong to ``bad``."""
    config = data_module.config
    device = next(next(iter(models.values())).parameters()).device
    normalise = Normaliser(config.model, device)
    batches = image_batches(data_module, split, config.runtime.eval_batch_size)
    keys = [tuple(ref.key for ref in refs[0]) for refs in batches]
    heads = {
        key: _Head(
            key, data_module.classes[key], list(models), record, config.evaluate.examples, sum(key in b for b in keys)
        )
        for key in data_module.annotations
        if any(key in of_batch for of_batch in keys)
    }
    images = SharedImages(data_module.evaluation(split))
    loader = make_loader(images, batches, config.runtime.workers, device.type == "cuda", collate_heads)
    for refs, of_batch, loaded in zip(batches, keys, loader, strict=True):
        good = _usable(loaded, config.runtime.on_bad_sample, bad)
        for together in _of_same_images(good, len(refs)):
            pixels = normalise(together[0].images.to(device, non_blocking=True))
            for name, model in models.items():
                said = predict_each(model, pixels, [batch.key for batch in together], config.runtime.eval_batch_size)
                for batch in together:
                    heads[batch.key].add(name, map_tensors(said[batch.key], Tensor.cpu), batch)
        for key in of_batch:
            heads[key].done += 1
            progress(key, heads[key].done, heads[key].batches)
    _check_seen(heads, config.runtime.on_bad_sample, bad)
    return heads


class _Head:
    """What one head of every model says, as it is judged, recorded and shown.

    Args:
        key: dataset and task.
        classes: K names.
        models: their names.
        record: keep predictions.
        examples: images kept for the report, of the last model.
        batches: in which the head has images.
    """

    def __init__(
        self, key: TaskKey, classes: tuple[str, ...], models: Sequence[str], record: bool, examples: int, batches: int
    ):
        self.key, self.batches = key, batches
        self.done = self.images = 0
        self.judges = {name: JUDGES[key.task](classes) for name in models}
        self.recorders = {name: Recorder(key, classes) for name in models if record}
        self.shown, self.wanted = models[-1], examples
        self.examples: list[Example] = []

    def add(self, model: str, prediction: Prediction, batch: Batch) -> None:
        """One batch, on the host."""
        self.judges[model].add(prediction, batch)
        if model in self.recorders:
            self.recorders[model].add(prediction, batch)
        if model == self.shown:
            self.images += len(batch)
            self.examples += examples_of(batch, prediction, self.wanted - len(self.examples))

    def add_to(self, found: Evaluation, split: Split, visit: int) -> None:
        """Adds rows, curves, examples and predictions."""
        for name, judge in self.judges.items():
            found.rows += judge.metric_rows(self.key, name, visit, split)
        kept = [recorder.predictions(name, split, visit) for name, recorder in self.recorders.items()]
        found.predictions += [predictions for predictions in kept if predictions is not None]
        if self.examples:
            found.examples[self.key] = self.examples
        if curves := self.judges[self.shown].curves():
            found.curves[str(self.key)] = {"model": self.shown, "split": split.value, "classes": curves}


def predict_each(
    model: FoundationModel, images: Tensor, keys: Sequence[TaskKey], size: int
) -> dict[TaskKey, Prediction]:
    """What each head says of the same images; the backbone looks at them once.

    Compiled models are asked head by head: what was compiled begins with the images.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W), normalised.
        keys: of the heads.
        size: images of a full batch.
    """
    with torch.no_grad():
        if not isinstance(model, FoundationModel):
            return {key: model.predict(images, key) for key in keys}
        if is_compiled(model.backbone):
            return {key: predict_full(model, images, key, size) for key in keys}
        features = model.backbone(images)
        return {key: model.predict(images, key, features) for key in keys}


def _usable(loaded: Sequence[Loaded], on_bad_sample: str, bad: list[BadSample]) -> list[Batch]:
    """The heads' batches that have images; adds what is wrong to ``bad``. Raises DataError as ``usable``."""
    good = []
    for batch in loaded:
        faults = batch.bad if isinstance(batch, Batch) else batch
        bad.extend(entry for entry in faults if entry not in bad)
        if isinstance(batch, Batch) or on_bad_sample == "raise":
            good.append(usable(batch, on_bad_sample))
    return good


def _of_same_images(batches: Sequence[Batch], images: int) -> list[list[Batch]]:
    """Batches with all ``images`` together, and each of the others alone: it lacks what its head cannot use."""
    whole = [batch for batch in batches if len(batch) == images]
    return ([whole] if whole else []) + [[batch] for batch in batches if len(batch) < images]


def _check_seen(heads: Mapping[TaskKey, _Head], on_bad_sample: str, bad: Sequence[BadSample]) -> None:
    """Raises DataError where a head could not use one image."""
    for key, head in heads.items():
        if not head.images:
            usable(
                tuple(entry for entry in bad if (entry.dataset, entry.task) == (key.dataset, key.task.value)),
                on_bad_sample,
            )
