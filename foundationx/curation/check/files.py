"""Whether the files and folders that a card names exist, and which image files have no annotation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Task
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._images import Images
from foundationx.datasets.readers._paths import DatasetFolder


def missing_files(card: Card, data_root: Path, folder: Path, root: str | None) -> Iterator[Issue]:
    """A fault for every annotation file, joined table, patient table, split list and image folder that is missing."""
    if not folder.is_dir():
        fix = f"download {card.title}{f' from {card.home}' if card.home else ''}, or name its folder with --root"
        yield Issue(IssueKind.FILES, Severity.FAULT, str(folder), "", "there is no such folder", "the dataset", fix)
        return
    dataset = DatasetFolder(folder, data_root, data_root / (card.root if root is None else root))
    for file, key, tasks in _named_files(card):
        try:
            dataset.choose(file, f"card: {key}")
        except DataError as error:
            yield Issue.from_error(error, IssueKind.FILES, file, f"card: {key}", tasks)
    yield from _missing_patient_tables(card, dataset)
    listing = Images(dataset)
    for task, spec in card.tasks.items():
        for pattern in {pattern: None for part in spec.files for pattern in part.images or ()}:
            try:
                listing.matching(pattern)
            except DataError as error:
                yield Issue.from_error(error, IssueKind.FILES, pattern, "card: images", (task.value,))


def _named_files(card: Card) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """File, the card's key that names it, and the tasks that need it."""
    every_task = tuple(task.value for task in card.tasks)
    for task, spec in card.tasks.items():
        for part in spec.files:
            if part.file:
                yield part.file, "file", (task.value,)
        for join in spec.join:
            yield join.file, "join", (task.value,)
    if card.splits is not None and card.splits.table is not None:
        yield card.splits.table.file, "splits.table", every_task
    if card.splits is not None:
        for split, file in card.splits.lists.items():
            yield file, f"splits.lists.{split.value}", every_task


def _missing_patient_tables(card: Card, dataset: DatasetFolder) -> Iterator[Issue]:
    """A fault for every required table of patients of which no named file exists."""
    for table in card.patient.tables if card.patient is not None else ():
        if table.required and not dataset.existing(" | ".join(table.file), "card: patient.tables"):
            fix = f"download it{f' from {table.source}' if table.source else ''}, or correct the card"
            tasks = tuple(task.value for task in card.tasks)
            name, found, expected = " or ".join(table.file), "there is no such file", f"a file in {dataset.path}"
            yield Issue(IssueKind.FILES, Severity.FAULT, name, "card: patient.tables", found, expected, fix, tasks)


def unannotated_files(
    tables: Mapping[Task, Annotations], skipped: Iterable[str], folders: Iterable[str], images: Images
) -> list[str]:
    """Files beside the annotated images, with one of their suffixes, that no annotation names.

    Args:
        tables: Annotations by task.
        skipped: Names or paths of images that were skipped because of a fault; they are annotated, but unusable.
        folders: Image folders relative to the dataset's folder.
        images: Listing of the dataset's folder.

    Returns:
        Paths relative to the dataset's folder, in alphabetical order.
    """
    named = {image for table in tables.values() for image in table.images}
    suffixes = {os.path.splitext(image)[1] for image in named}
    named |= {file for task, table in tables.items() for target in table.targets for file in task.facts.files(target)}
    skipped_names = {PurePosixPath(name).name for name in skipped}
    paths = []
    for folder in sorted({image.rpartition("/")[0] for image in named} | set(folders)):
        for name in images.files(folder):
            path = f"{folder}/{name}" if folder else name
            if path in named:
                continue
            stem, suffix = os.path.splitext(name)
            if suffix in suffixes and not {name, stem} & skipped_names:
                paths.append(path)
    return sorted(paths)
