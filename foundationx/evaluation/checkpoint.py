"""Evaluation of a checkpoint on the datasets that it was trained on."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from foundationx.core.config.run import RunConfig
from foundationx.core.device import pick_device, set_cuda_arithmetic, use_machine
from foundationx.core.errors import CheckpointError, ConfigError, nearest
from foundationx.core.types import MetricRow, Split, TaskKey
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.patient_splits import SPLITS, SplitRecord, read_record, run_folder
from foundationx.datasets.splits import official_splits
from foundationx.engine.checkpoint import Checkpoint, load_checkpoint
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.stored import store, stored_thresholds
from foundationx.evaluation.thresholds import Thresholds
from foundationx.evaluation.trivial import keep_trivial, read_trivial


def with_exclusion(checkpoint: Checkpoint, exclude: Path | None) -> RunConfig:
    """The configuration of a checkpoint with the user's exclusion list; its own list is not followed.

    Warns if the run used a list and the user names none: its images are then among the training images.
    """
    if checkpoint.exclusion is not None and exclude is None:
        text = f"the run left out the images of {checkpoint.exclusion}; to leave them out here too, pass --exclude FILE"
        warnings.warn(text, stacklevel=2)
    return checkpoint.config.model_copy(update={"exclude": exclude})


def open_evaluated(
    checkpoint: Checkpoint, path: Path, config: RunConfig, data_root: Path
) -> tuple[DataModule, SplitRecord]:
    """The datasets of a configuration; patients of the checkpoint's run are in the split that they had there.

    Warns if patients whom the run trained on are officially held out now: they are not scored.

    Args:
        checkpoint: Evaluated checkpoint.
        path: Checkpoint, work directory or folder of an import.
        config: Datasets to open, and how patients are split whom the run did not have.
        data_root: Folder that holds the datasets.

    Raises:
        CheckpointError: The run was split by a list, and its ``splits.json`` is missing.
        FoundationXError: As :func:`open_datasets`.
    """
    record = read_record(path)
    if checkpoint.split_file is not None and not record.splits:
        found = f"its run was split by {checkpoint.split_file}, and splits.json of the run is not there"
        fix = "evaluate the checkpoint in its work directory, or copy splits.json beside it"
        raise CheckpointError(str(path), found, "splits.json", fix)
    kept = config.split.model_copy(update={"changes": "keep"})
    data_module = open_datasets(config.model_copy(update={"split": kept}), data_root, record=record)
    official = official_splits(list(data_module.annotations.values()))
    freed = [p for p, split in official.items() if split is not Split.TRAIN and record.splits.get(p) is Split.TRAIN]
    if freed:
        text = (
            f"{len(freed):,} patients are officially held out now, but the run was trained on them: they stay in train"
        )
        warnings.warn(f"{text} ({', '.join(freed[:3])}{', ...' if len(freed) > 3 else ''})", stacklevel=2)
    return data_module, record


def evaluate_checkpoint(
    path: Path,
    data_root: Path,
    split: Split | Literal["all"],
    models: tuple[str, ...] = ("student", "teacher"),
    device: str = "auto",
    out: Path | None = None,
    *,
    cards: Sequence[str] = (),
    exclude: Path | None = None,
    allow_code: bool = False,
) -> list[MetricRow]:
    """All metric rows of every head. Patients are in the split that ``splits.json`` of the run records.

    Args:
        path: Checkpoint or work directory.
        data_root: Folder that holds the datasets.
        split: Split to evaluate; ``all``: every image, as one test set.
        models: Student, teacher or both.
        device: Device to compute on.
        out: Folder for ``metrics.json``, ``predictions/`` and ``thresholds.json``; what it holds of other splits stays.
            Metrics at a threshold need the predictions of the validation split in it.
        cards: Datasets of the run to evaluate; empty for all.
        exclude: List of training images to leave out, which matters for the training split; the path that the
            checkpoint names is not followed.
        allow_code: Build whatever backbone the checkpoint names; otherwise only known ones.

    Raises:
        CheckpointError: The checkpoint cannot be read, or the cards have changed since.
        ConfigError: No head has an image in the split, all images would be written into the run's own folder, or the
            run has no such dataset.
        DataError: A file is missing or bad.
        DiskError: ``out`` cannot be written.
    """
    checkpoint = load_checkpoint(path, allow_code=allow_code)
    config = checkpoint.config.model_copy(update={"exclude": exclude})
    if split is Split.TRAIN:
        config = with_exclusion(checkpoint, exclude)
    data_module, record = _open_own(checkpoint, path, _with_cards(config, cards), data_root)
    data_module, split = _chosen(data_module, record, split, out)
    target = pick_device(device)
    use_machine(checkpoint.config.runtime.workers)
    set_cuda_arithmetic(checkpoint.config.runtime.cuda, target)
    built = {name: checkpoint.model(name).to(target) for name in models}
    thresholds: Thresholds = {}
    if out is not None and split is not Split.VAL:
        thresholds = stored_thresholds(out, list(data_module.classes), models, checkpoint.visit)
    trivial = read_trivial(run_folder(path))
    evaluation = evaluate(data_module, built, split, checkpoint.visit, thresholds=thresholds, trivial=trivial)
    if out is not None:
        store(out, evaluation)
        keep_trivial(out, trivial)
    return evaluation.rows


def _with_cards(config: RunConfig, cards: Sequence[str]) -> RunConfig:
    """The configuration with these datasets alone. Raises ConfigError: the run does not have one of them."""
    own = {dataset.card: dataset for dataset in config.datasets}
    for card in cards:
        if card not in own:
            found = f"{card!r} has no head of the run that its card describes"
            raise ConfigError("--card", found, nearest(card, own), "choose a dataset of the run, or a --protocol")
    return config.model_copy(update={"datasets": tuple(own[card] for card in cards)}) if cards else config


def _open_own(checkpoint: Checkpoint, path: Path, config: RunConfig, data_root: Path) -> tuple[DataModule, SplitRecord]:
    """As :func:`open_evaluated`, for datasets of the run. Raises CheckpointError: the cards' classes have changed."""
    data_module, record = open_evaluated(checkpoint, path, config, data_root)
    if data_module.classes != _evaluated_classes(checkpoint, config):
        fix = "use the cards that the model was trained with"
        raise CheckpointError(str(path), "the cards' classes differ from the checkpoint's", fix=fix)
    return data_module, record


def _evaluated_classes(checkpoint: Checkpoint, config: RunConfig) -> dict[TaskKey, tuple[str, ...]]:
    """Classes of the checkpoint's heads for the datasets and tasks of a configuration; an import may have others."""
    tasks = {dataset.card: dataset.tasks for dataset in config.datasets}
    return {
        key: names
        for key, names in checkpoint.classes.items()
        if key.dataset in tasks and (tasks[key.dataset] is None or key.task in (tasks[key.dataset] or ()))
    }


def _chosen(
    data_module: DataModule, record: SplitRecord, split: Split | Literal["all"], out: Path | None
) -> tuple[DataModule, Split]:
    """The datasets and the split of them to score. Raises ConfigError as :func:`evaluate_checkpoint`."""
    for text in _notes(data_module, record, split):
        warnings.warn(text, stacklevel=3)
    if split == "all":
        _check_folder(out)
        data_module, split = data_module.as_test(), Split.TEST
    _check_images(data_module, split)
    return data_module, split


def _notes(data_module: DataModule, record: SplitRecord, split: Split | Literal["all"]) -> Iterator[str]:
    """What the scores do not show of the patients behind them."""
    if split == "all":
        seen = Counter(record.splits[p] for p in data_module.patients if p in record.splits)
        if used := seen[Split.TRAIN] + seen[Split.VAL]:
            yield (
                f"{used:,} of {len(data_module.patients):,} patients have the names of patients whom the run was "
                "trained or validated on: if they are the same people, the scores are too good; --split test leaves "
                "them out"
            )
        return
    members: dict[str, set[str]] = {}
    for key, table in data_module.annotations.items():
        members.setdefault(key.dataset, set()).update(table.patients)
    outside = [name for name, patients in members.items() if record.splits and not patients & record.splits.keys()]
    for name in outside:
        scored = sum(data_module.patients[patient] is split for patient in members[name])
        yield (
            f"{name}: none of its {len(members[name]):,} patients is in the run; {scored:,} of them are scored, whom "
            f"the split puts into {split.value}; --split all scores everyone"
        )


def _check_folder(out: Path | None) -> None:
    """Raises ConfigError if the folder is that of a run, whose scores on test would be replaced."""
    if out is not None and (out / SPLITS).exists():
        found, expected = f"{out} is the work directory of a run", "a folder of its own for the scores of all images"
        raise ConfigError("--out", found, expected, "name another folder")


def _check_images(data_module: DataModule, split: Split) -> None:
    """Raises ConfigError if no head has an image in the split; warns of heads that have none."""
    without = [str(key) for key, count in data_module.sizes(split).items() if not count]
    if len(without) == len(data_module.annotations):
        fix = "--split all scores every image; or choose a split that has patients"
        raise ConfigError("--split", f"no dataset has a patient in {split.value}", "images to score", fix)
    if without:
        warnings.warn(f"no image in {split.value}, not scored: {', '.join(without)}", stacklevel=3)
