"""Predictions of joint and separate runs, and the sites of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.errors import DataError, FoundationXError
from foundationx.core.types import Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.datasets import attributes
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.location import dataset_folder
from foundationx.datasets.shared_head import shared_name
from foundationx.evaluation.compare.compare import check_same_test
from foundationx.evaluation.ledger.judge import HeadRuns
from foundationx.evaluation.predictions import Predictions, find_predictions
from foundationx.evaluation.stored import read_with_thresholds

DEPTH = 3
"""Folders below a given one in which runs are looked for."""


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it holds predictions, else the runs below it; what ``train --train-alone`` wrote is both.

    Raises:
        DataError: There is none.
    """
    if find_predictions(folder):
        return [folder]
    found: list[Path] = []
    for depth in range(1, DEPTH + 1):
        below = sorted(
            path.parent for path in folder.glob("*/" * depth + "predictions") if find_predictions(path.parent)
        )
        found += [path for path in below if path not in found]
    if not found:
        fix = "train it to its end, or evaluate it: foundationx eval RUN --split test --out RUN"
        raise DataError(str(folder), "holds no run with predictions", "work directories of runs", fix)
    return found


def read_heads(
    joint: Sequence[Path], alone: Sequence[Path], split: Split, model: str
) -> tuple[list[HeadRuns], list[TaskKey], list[Path]]:
    """Heads that both kinds of runs have, heads that only the joint runs have, and the folders of the separate runs.

    Args:
        joint: Joint runs, which differ in their seed.
        alone: Runs that trained heads alone, or folders of such runs; several of one head differ in their seed.
        split: Split to compare on.
        model: Student or teacher.

    Raises:
        DataError: A run has no predictions of that split and model, heads were evaluated on different images, or no
            head of the joint run was trained alone.
    """
    together = [_read(folder, split, model) for folder in joint]
    folders = [run for folder in alone for run in runs_in(folder)]
    apart = [(folder, _read(folder, split, model)) for folder in folders]
    heads: list[HeadRuns] = []
    missing: list[TaskKey] = []
    for key in together[0]:
        own = [(folder, run[key]) for folder, run in zip(joint, together, strict=True) if key in run]
        others = [(folder, run[key]) for folder, run in apart if key in run]
        if len(own) < len(joint) or not others:
            missing.append(key)
            continue
        own, others = _with_common_classes(own, others)
        check_same_test([*own, *others])
        ordered = [[_in_order(run, own[0][1].classes) for _, run in runs] for runs in (own, others)]
        heads.append(HeadRuns(key, tuple(ordered[0]), tuple(ordered[1])))
    if not heads:
        found = f"were trained on none of the heads of {joint[0]}: {', '.join(map(str, together[0]))}"
        fix = "train each head alone: foundationx train CONFIG --train-alone"
        raise DataError(", ".join(map(str, alone)), found, "runs of its heads", fix)
    return heads, missing, folders


Runs = list[tuple[Path, Predictions]]
"""One head of several runs, with their folders."""


def _with_common_classes(joint: Runs, alone: Runs) -> tuple[Runs, Runs]:
    """The classes that all runs have, if nothing is known of the others: a shared head has those of all datasets."""
    if not any(set(run.classes) & set(joint[0][1].classes) for _, run in alone):
        alone = [(folder, _by_concepts(run)) for folder, run in alone]
    runs = [*joint, *alone]
    common = [name for name in joint[0][1].classes if all(name in run.classes for _, run in runs)]

    def reduced(run: Predictions) -> Predictions:
        columns = [run.classes.index(name) for name in common]
        others = [k for k in range(len(run.classes)) if k not in columns]
        if not others or not common or "probabilities" not in run.recorded or not np.isnan(run.labels[:, others]).all():
            return run
        return replace(
            run,
            classes=tuple(common),
            labels=run.labels[:, columns],
            recorded={"probabilities": run.array("probabilities")[:, columns]},
            thresholds={name: value for name, value in run.thresholds.items() if name in common},
        )

    return [(folder, reduced(run)) for folder, run in joint], [(folder, reduced(run)) for folder, run in alone]


def _by_concepts(run: Predictions) -> Predictions:
    """The run with the names that its classes have in a shared head; as it is if the card does not name them."""
    catalog = Catalog()
    task = catalog.card(run.key.dataset).tasks.get(run.key.task) if run.key.dataset in catalog.names() else None
    specs = {spec.name: spec for spec in task.classes} if task is not None else {}
    names = tuple(shared_name(run.key.dataset, specs[name]) for name in run.classes if name in specs)
    if len(set(names)) < len(run.classes):
        return run
    new = dict(zip(run.classes, names, strict=True))
    return replace(run, classes=names, thresholds={new[name]: value for name, value in run.thresholds.items()})


def _read(folder: Path, split: Split, model: str) -> dict[TaskKey, Predictions]:
    paths = [path for path in find_predictions(folder) if path.name.endswith(f".{split.value}.{model}.npz")]
    if not paths:
        fix = f"foundationx eval {folder} --split {split.value} --out {folder}"
        raise DataError(str(folder), f"holds no predictions of the {model} on {split.value}", "predictions/", fix)
    return {stored.key: stored for stored in (read_with_thresholds(path, folder) for path in paths)}


def _in_order(run: Predictions, classes: tuple[str, ...]) -> Predictions:
    """The run's predictions with images in alphabetical order. Raises DataError if classes stand in another order."""
    if run.classes != classes:
        found = f"has the classes of {run.key} in another order"
        raise DataError(f"{run.key}", found, ", ".join(classes), "train both with the same card")
    return run.take(np.argsort(run.images))


def groups_of(head: HeadRuns, data_root: Path, root: str | None, catalog: Catalog) -> dict[str, AnyArray]:
    """Group of every image by attribute; none if the card names no attributes.

    Args:
        head: Predictions, which name the images.
        data_root: Folder of all datasets.
        root: Folder of the dataset under it, if it is not the card's own.
        catalog: Cards.

    Raises:
        FoundationXError: The card, or the table that it names, cannot be read.
    """
    card = catalog.card(head.key.dataset)
    if card.attributes is None:
        return {}
    return attributes.groups_of(card, dataset_folder(card, data_root, root), head.joint[0].images)


def with_groups(
    heads: Sequence[HeadRuns], data_root: Path, roots: dict[str, str | None], catalog: Catalog
) -> tuple[list[HeadRuns], list[str]]:
    """The heads with the groups of their images, and notes on those whose table cannot be read."""
    grouped, notes = [], []
    for head in heads:
        try:
            groups = groups_of(head, data_root, roots.get(head.key.dataset), catalog)
        except FoundationXError as error:
            groups = {}
            notes.append(f"{head.key}: no groups, {error.where}: {error.found}")
        grouped.append(replace(head, groups=groups))
    return grouped, notes


def roots_of(run: Path) -> dict[str, str | None]:
    """Folder of each dataset under the data root as a run's configuration names it; None: the card's own."""
    datasets = WorkDir(run).read_json("config.json", {}).get("datasets", [])
    return {str(entry.get("card")): entry.get("root") for entry in datasets if isinstance(entry, dict)}
