"""Evaluation of a checkpoint on the datasets that it was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path

from foundationx.core.config.run import RunConfig
from foundationx.core.device import pick_device, share_cores
from foundationx.core.errors import CheckpointError
from foundationx.core.types import MetricRow, Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.checkpoint import Checkpoint, load_checkpoint
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.stored import store, stored_thresholds
from foundationx.evaluation.thresholds import Thresholds


def with_exclusion(checkpoint: Checkpoint, exclude: Path | None) -> RunConfig:
    """The configuration of a checkpoint with the user's exclusion list; its own list is not followed.

    Warns if the run used a list and the user names none: its images are then among the training images.
    """
    if checkpoint.exclusion is not None and exclude is None:
        text = f"the run left out the images of {checkpoint.exclusion}; to leave them out here too, pass --exclude FILE"
        warnings.warn(text, stacklevel=2)
    return checkpoint.config.model_copy(update={"exclude": exclude})


def evaluate_checkpoint(
    path: Path,
    data_root: Path,
    split: Split,
    models: tuple[str, ...] = ("student", "teacher"),
    device: str = "auto",
    out: Path | None = None,
    *,
    exclude: Path | None = None,
    allow_code: bool = False,
) -> list[MetricRow]:
    """All metric rows of every head. The split is the run's own: it depends on patients, fractions and seed alone.

    Args:
        path: Checkpoint or work directory.
        data_root: Folder that holds the datasets.
        split: Split to evaluate.
        models: Student, teacher or both.
        device: Device to compute on.
        out: Folder for ``metrics.json``, ``predictions/`` and ``thresholds.json``; what it holds of other splits stays.
            Metrics at a threshold need the predictions of the validation split in it.
        exclude: List of training images to leave out, which matters for the training split; the path that the
            checkpoint names is not followed.
        allow_code: Build whatever backbone the checkpoint names; otherwise only known ones.

    Raises:
        CheckpointError: The checkpoint cannot be read, or the cards have changed since.
        DataError: A file is missing or bad.
        DiskError: ``out`` cannot be written.
    """
    checkpoint = load_checkpoint(path, allow_code=allow_code)
    config = checkpoint.config.model_copy(update={"exclude": exclude})
    if split is Split.TRAIN:
        config = with_exclusion(checkpoint, exclude)
    data_module = open_datasets(config, data_root)
    if data_module.classes != checkpoint.classes:
        fix = "use the cards that the model was trained with"
        raise CheckpointError(str(path), "the cards' classes differ from the checkpoint's", fix=fix)
    target = pick_device(device)
    share_cores(checkpoint.config.runtime.workers)
    built = {name: checkpoint.model(name).to(target) for name in models}
    thresholds: Thresholds = {}
    if out is not None and split is not Split.VAL:
        thresholds = stored_thresholds(out, list(data_module.classes), models, checkpoint.visit)
    evaluation = evaluate(data_module, built, split, checkpoint.visit, thresholds=thresholds)
    if out is not None:
        store(out, evaluation)
    return evaluation.rows
