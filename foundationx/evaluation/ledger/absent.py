"""What heads find on images of other datasets that are known not to show it.

A head never trained on another dataset's images; whether joining datasets made it find things there, or cured it of
that, no test set of its own can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from foundationx.core.arrays import AnyArray
from foundationx.core.device import pick_device, use_machine
from foundationx.core.types import Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import AGAIN, SampleRef, make_loader, read_all, usable
from foundationx.data.normalise import Normaliser
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.known import known_labels_of
from foundationx.engine.checkpoint import Checkpoint, load_checkpoint
from foundationx.evaluation.checkpoint import open_evaluated
from foundationx.evaluation.ledger.judge import Absent, HeadRuns
from foundationx.evaluation.stored import stored_thresholds
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of

LEAST_IMAGES = 10
"""Images that are known not to have some class of a head; with fewer, the dataset is left out."""


@dataclass(frozen=True)
class AbsentImages:
    """Images of one dataset that are known not to have some classes of a head of another.

    Attributes:
        dataset: Their dataset.
        refs: Position of each image.
        patients: (n,) patient of each.
        absent: (n, K) bool, whether each class of the head is known to be absent.
    """

    dataset: str
    refs: tuple[SampleRef, ...]
    patients: AnyArray
    absent: AnyArray


def with_absent(
    heads: Sequence[HeadRuns],
    joint: Sequence[Path],
    alone: Sequence[Path],
    data_root: Path,
    *,
    split: Split,
    model: str,
    device: str = "auto",
) -> list[HeadRuns]:
    """The heads with their answers on images of the other datasets of the joint run.

    Args:
        heads: Heads of both kinds of runs.
        joint: Joint runs; the first one's configuration names the datasets.
        alone: Separate runs.
        data_root: Folder that holds the datasets.
        split: Split of the images.
        model: Student or teacher.
        device: Device to compute on.

    Raises:
        FoundationXError: A checkpoint or the datasets cannot be read.
    """
    checkpoint = load_checkpoint(joint[0])
    config = checkpoint.config.model_copy(update={"exclude": None})
    data_module, _ = open_evaluated(checkpoint, joint[0], config, data_root)
    use_machine(config.runtime.workers)
    scored = [head for head in heads if task_of(head.key.task).scores_images]
    images = {head.key: absent_images(data_module, head.key, split, Catalog()) for head in scored}
    answers: dict[tuple[Path, TaskKey], list[AnyArray]] = {}
    for folder in dict.fromkeys([*joint, *alone]) if any(images.values()) else ():
        stored = load_checkpoint(folder)
        built = stored.model(model).to(pick_device(device))
        for key, sets in images.items():
            if key in built.classes:
                limits = _limits(folder, stored, key, model)
                found = [_found(data_module, built, key, images_of, limits) for images_of in sets]
                answers[folder, key] = found
    return [replace(head, absent=_absent(head, images.get(head.key, []), joint, alone, answers)) for head in heads]


def absent_images(data_module: DataModule, key: TaskKey, split: Split, catalog: Catalog) -> list[AbsentImages]:
    """By other dataset: the images of a split that are known not to have some class of a head.

    Args:
        data_module: Datasets of the joint run.
        key: The head.
        split: Split of the images.
        catalog: Cards, which give the meaning of classes.
    """
    specs = specs_of(key, data_module.annotations[key].classes, catalog)
    found = []
    for dataset in dict.fromkeys(other.dataset for other in data_module.annotations if other.dataset != key.dataset):
        tables = {other: table for other, table in data_module.annotations.items() if other.dataset == dataset}
        sources = [(table, specs_of(other, table.classes, catalog)) for other, table in tables.items()]
        first: dict[str, tuple[SampleRef, str]] = {}
        for other, table in tables.items():
            for index in data_module.indices[other][split] if other.task.facts.needs_annotations else ():
                ref = SampleRef(other, int(index), int(index))
                first.setdefault(table.images[index], (ref, table.patients[index]))
        names = list(first)
        known = [known_labels_of(spec, sources, names, catalog.vocabulary) for spec in specs]
        absent = np.stack(known, axis=1) == 0 if names else np.zeros((0, len(specs)), dtype=bool)
        rows = np.flatnonzero(absent.any(axis=1))
        rows = np.array(sorted(rows, key=lambda row: first[names[row]][0]), dtype=np.int64)  # batches of one head
        if len(rows) >= LEAST_IMAGES:
            chosen = [first[names[row]] for row in rows]
            patients = np.array([patient for _, patient in chosen])
            found.append(AbsentImages(dataset, tuple(ref for ref, _ in chosen), patients, absent[rows]))
    return found


def specs_of(key: TaskKey, classes: Sequence[str], catalog: Catalog) -> list[ClassSpec]:
    """What each class of a head means; a class that the card does not name means nothing to others."""
    task = catalog.card(key.dataset).tasks.get(key.task)
    by_name = {spec.name: spec for spec in task.classes} if task is not None else {}
    return [by_name.get(name, ClassSpec(name=name)) for name in classes]


def _limits(folder: Path, checkpoint: Checkpoint, key: TaskKey, model: str) -> AnyArray:
    """(K,) score from which on the run's head finds each class: that of its validation, or else the task's own."""
    chosen = stored_thresholds(folder, [key], [model], checkpoint.visit).get((key, model), {})
    usual = task_of(key.task).found_from
    return np.array([chosen[name].value if name in chosen else usual for name in checkpoint.classes[key]])


@torch.no_grad()
def _found(
    data_module: DataModule, model: FoundationModel, key: TaskKey, images: AbsentImages, limits: AnyArray
) -> AnyArray:
    """(n, K): 1 if the head finds an absent class, 0 if not, NaN if the class is not known to be absent."""
    runtime, device = data_module.config.runtime, next(model.parameters()).device
    normalise, task = Normaliser(data_module.config.model, device), task_of(key.task)
    batches: list[list[SampleRef]] = []
    for ref in images.refs:
        if not batches or batches[-1][0].key != ref.key or len(batches[-1]) == runtime.eval_batch_size:
            batches.append([])
        batches[-1].append(ref)
    pool = data_module.as_test().evaluation(Split.TEST)  # images of any split
    scores = []
    for item in read_all(make_loader(pool, batches, runtime.workers, pin_memory=False), "evaluation", AGAIN):
        batch = usable(item, "raise")
        prediction = model.predict(normalise(batch.images.to(device)), key)
        scores.append(task.image_scores(prediction, len(limits)).float().cpu().numpy())
    found = np.concatenate(scores) >= limits
    return np.where(images.absent, found, np.nan)


def _absent(
    head: HeadRuns,
    sets: Sequence[AbsentImages],
    joint: Sequence[Path],
    alone: Sequence[Path],
    answers: dict[tuple[Path, TaskKey], list[AnyArray]],
) -> tuple[Absent, ...]:
    classes = head.joint[0].classes

    def of(folders: Sequence[Path], number: int) -> tuple[AnyArray, ...]:
        return tuple(answers[folder, head.key][number] for folder in folders if (folder, head.key) in answers)

    return tuple(
        Absent(images.dataset, classes, images.patients, of(joint, number), of(alone, number))
        for number, images in enumerate(sets)
    )
