"""Evaluates every head, student and teacher, in one pass over the images.

One path leads from a model to its figures: predictions of every image are recorded batch by batch, and all metrics are
statistics of them. An image file is decoded once for all heads that use it, and passes through each model's backbone
once for all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from foundationx.core import distributed
from foundationx.core.tensors import map_tensors
from foundationx.core.types import BadSample, Batch, Example, MetricRow, Prediction, Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import SampleRef, usable
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.images import ImageReader, Loaded, image_batches
from foundationx.evaluation.measure import curves, metric_rows
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.recorder import RecordedBatch, Recorder, SpillFolder
from foundationx.evaluation.sharing import collect_in_order, measuring_rank, own_share
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
    keep: bool = True,
    reader: ImageReader | None = None,
) -> Evaluation:
    """Evaluates every head of every model on one split; several ranks share the images and the heads.

    Args:
        data_module: Datasets of the run.
        models: Models by name; curves and examples are those of the last. They stay in evaluation mode.
        split: Split to evaluate.
        visit: Visits trained so far, written into the rows.
        progress: Called with head, batches done and batches in all.
        thresholds: Thresholds of image labels that were chosen on validation.
        spill: Folder for predictions that do not stay in memory; the system's temporary folder if None.
        trivial: What is known without an image (``trivial.py``); its rows follow those of each head's models.
        keep: Whether the first of several ranks is given the predictions of all heads; else those that it measures.
        reader: Reads the images of annotated heads; None: its workers end with this evaluation.

    Returns:
        On every rank the same, but for the predictions.

    Raises:
        DataError: A sample is bad and ``on_bad_sample`` is ``raise``, or a head has no image that can be read.
        DiskError: The disk does not take the predictions.
    """
    measuring = {key: measuring_rank(number) for number, key in enumerate(data_module.annotations)}
    receivers = {key: {rank, 0} if keep else {rank} for key, rank in measuring.items()}
    bad: list[BadSample] = []
    with _reading(reader, data_module, _prepared(models)) as reader:
        heads = _predict_all(data_module, models, split, progress, SpillFolder(spill), bad, receivers, reader)
    parts: dict[TaskKey, Evaluation] = {}
    for key in data_module.annotations:
        part = Evaluation(thresholds=dict(thresholds or {}))
        if key in heads and _is_here(key, measuring):
            _measure_head(heads[key], part, split, visit)
            if trivial is not None and part.predictions:
                part.rows += trivial_rows(trivial, part.predictions[-1])
        elif key in heads and distributed.rank() in receivers[key]:
            part.predictions = heads[key].recorder.predictions(split, visit)
        elif key not in heads and len(data_module.indices[key][split]):
            pool, rank = data_module.evaluation(split), measuring[key]
            part.rows, part.bad = evaluate_views(data_module, pool, models, split, visit, key, progress, rank)
        parts[key] = part
    return _together(parts, measuring, bad, thresholds or {})


def _prepared(models: Mapping[str, FoundationModel]) -> torch.device:
    """Puts models into evaluation mode; their device."""
    for model in models.values():
        model.eval()
    return next(next(iter(models.values())).parameters()).device


@contextlib.contextmanager
def _reading(reader: ImageReader | None, data_module: DataModule, device: torch.device) -> Iterator[ImageReader]:
    """The reader, or one whose workers end when it is left."""
    own = ImageReader(data_module, device.type == "cuda") if reader is None else None
    try:
        yield reader or cast(ImageReader, own)
    finally:
        if own is not None:
            own.close()


def _together(
    parts: Mapping[TaskKey, Evaluation],
    measuring: Mapping[TaskKey, int],
    bad: list[BadSample],
    thresholds: Thresholds,
) -> Evaluation:
    """One evaluation of the parts that each rank has measured, in the order of heads; predictions stay where they are.

    Args:
        parts: Evaluation of each head; empty if another rank measures it.
        measuring: Rank that measures each head.
        bad: Samples of annotated heads that could not be read.
        thresholds: Thresholds that the evaluation began with.
    """
    small = {key: replace(part, predictions=[]) for key, part in parts.items()}
    of_ranks = distributed.all_gather_object({key: part for key, part in small.items() if _is_here(key, measuring)})
    evaluation = Evaluation(bad=bad, thresholds=dict(thresholds))
    for key, part in parts.items():
        measured = of_ranks[measuring[key]][key] if distributed.world_size() > 1 else part
        evaluation.rows += measured.rows
        evaluation.curves |= measured.curves
        evaluation.examples |= measured.examples
        evaluation.bad += measured.bad
        evaluation.thresholds |= measured.thresholds
        evaluation.predictions += part.predictions
    return evaluation


def _is_here(key: TaskKey, measuring: Mapping[TaskKey, int]) -> bool:
    return measuring[key] == distributed.rank()


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
    receivers: Mapping[TaskKey, set[int]],
    reader: ImageReader,
) -> dict[TaskKey, _Head]:
    """Every annotated head that has images, with what all models predict; adds what is wrong to ``bad``.

    Args:
        data_module: Datasets of the run.
        models: Models by name.
        split: Split to evaluate.
        progress: Called with head, batches done and batches in all.
        folder: Folder for predictions that do not stay in memory.
        bad: Samples that could not be read are added, on every rank.
        receivers: Ranks that are given a head's predictions.
        reader: Reads the images.
    """
    config = data_module.config
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

    def part_for(result: _BatchResult, rank: int) -> _BatchResult:
        own = {key: entry for key, entry in result.heads.items() if rank in receivers[key]}
        return replace(result, heads=own)

    def take(result: _BatchResult) -> None:
        bad.extend(entry for entry in result.bad if entry not in bad)
        for key, images in result.images.items():
            heads[key].images += images
        for key, (recorded, examples) in result.heads.items():
            heads[key].add(recorded, examples)

    results = _results(data_module, models, reader, batches, heads)
    collect_in_order(len(batches), _showing(results, keys, heads, progress), part_for, take)
    _check_seen(heads, config.runtime.on_bad_sample, bad)
    return heads


@dataclass(frozen=True)
class _BatchResult:
    """What comes of one batch.

    Attributes:
        heads: What is recorded of each head, and its first images for the report.
        images: Number of images that each head could use.
        bad: Samples that could not be read.
    """

    heads: dict[TaskKey, tuple[RecordedBatch, list[Example]]]
    images: dict[TaskKey, int]
    bad: list[BadSample]


def _results(
    data_module: DataModule,
    models: Mapping[str, FoundationModel],
    reader: ImageReader,
    batches: list[list[tuple[SampleRef, ...]]],
    heads: Mapping[TaskKey, _Head],
) -> Iterator[_BatchResult]:
    """What comes of each of this rank's batches."""
    config, own = data_module.config, own_share(batches)
    device = next(next(iter(models.values())).parameters()).device
    normalise, size = Normaliser(config.model, device), config.runtime.eval_batch_size
    shown: dict[TaskKey, int] = dict.fromkeys(heads, 0)
    for refs, loaded in zip(own, reader.read(own), strict=True):
        bad: list[BadSample] = []
        result = _BatchResult({}, {}, bad)
        good = _usable(loaded, config.runtime.on_bad_sample, bad)
        for together in _of_same_images(good, len(refs)):
            pixels = normalise(together[0].images.to(device, non_blocking=True))
            with distributed.alone():
                predicted = _predict_batches(models, pixels, together, size)
            for batch in together:
                key = batch.key
                result.heads[key] = heads[key].record(predicted[key], batch, shown[key])
                result.images[key] = len(batch)
                shown[key] += len(batch)
        yield result


def _showing(
    results: Iterator[_BatchResult],
    keys: Sequence[tuple[TaskKey, ...]],
    heads: Mapping[TaskKey, _Head],
    progress: Callable[[TaskKey, int, int], None],
) -> Iterator[_BatchResult]:
    """The results; the progress of all ranks is that of this one."""
    ranks = distributed.world_size()
    for index, result in enumerate(results):
        for of_batch in keys[index * ranks : (index + 1) * ranks]:
            for key in of_batch:
                heads[key].done += 1
                progress(key, heads[key].done, heads[key].batches)
        yield result


def _predict_batches(
    models: Mapping[str, FoundationModel], pixels: Tensor, batches: Sequence[Batch], size: int
) -> dict[TaskKey, dict[str, Prediction]]:
    """Every model's predictions of the same images for several heads, on the host."""
    keys = [batch.key for batch in batches]
    predicted: dict[TaskKey, dict[str, Prediction]] = {key: {} for key in keys}
    for name, model in models.items():
        for key, prediction in predict_each(model, pixels, keys, size).items():
            predicted[key][name] = map_tensors(prediction, Tensor.cpu)
    return predicted


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

    def record(
        self, predictions: Mapping[str, Prediction], batch: Batch, before: int
    ) -> tuple[RecordedBatch, list[Example]]:
        """What is recorded of one batch on the host, and its images for the report.

        Args:
            predictions: Prediction of each model.
            batch: The batch.
            before: Images of the head before it, at least.
        """
        missing = max(0, min(self.requested - before, len(batch)))
        shown = predictions[list(predictions)[-1]]
        examples = [self.recorder.task.example(shown, batch, index) for index in range(missing)]
        return self.recorder.record(predictions, batch), examples

    def add(self, recorded: RecordedBatch, examples: list[Example]) -> None:
        """Adds the next batch."""
        self.recorder.add(recorded)
        self.shown = list(recorded.models)[-1]
        self.examples += examples[: max(0, self.requested - len(self.examples))]


def predict_each(
    model: FoundationModel, images: Tensor, keys: Sequence[TaskKey], size: int
) -> dict[TaskKey, Prediction]:
    """Predictions of several heads for the same images, with one pass through backbone and trunks.

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
        return model.predict_all(images, keys)


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
