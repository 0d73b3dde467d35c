"""Whether the files and folders that a card names exist, and which image files have no annotation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Task
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._files import MissingFileError
from foundationx.datasets.readers._images import Images
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._stray import is_stray_folder

_SHOWN = 5
"""Folders that a message names."""


def missing_files(card: Card, data_root: Path, folder: Path, root: str | None) -> Iterator[Issue]:
    """A fault for every annotation file, joined table, patient table, split list and image folder that is missing."""
    if not folder.is_dir():
        fix = f"{_way_to_get(card)}, or name its folder with --root{_folders_in(data_root)}"
        yield Issue(IssueKind.FILES, Severity.FAULT, str(folder), "", "there is no such folder", "the dataset", fix)
        return
    dataset = DatasetFolder(folder, data_root, data_root / (card.root if root is None else root))
    for file, key, tasks in _named_files(card):
        try:
            dataset.choose(file, f"card: {key}")
        except DataError as error:
            issue = Issue.from_error(error, IssueKind.FILES, file, f"card: {key}", tasks)
            yield replace(issue, fix=f"{_way_to_get(card)}, or {issue.fix}") if _is_missing(error) else issue
    yield from _missing_patient_tables(card, dataset)
    listing = Images(dataset)
    for task, spec in card.tasks.items():
        for pattern in {pattern: None for part in spec.files for pattern in part.images or ()}:
            try:
                listing.matching(pattern)
            except DataError as error:
                yield Issue.from_error(error, IssueKind.FILES, pattern, "card: images", (task.value,))


def _is_missing(error: DataError) -> bool:
    """Whether a file is not there under this name or one like it, so that the download lacks it."""
    return isinstance(error, MissingFileError) and "did you mean" not in error.expected


def _way_to_get(card: Card) -> str:
    """What gives the files of a dataset."""
    if card.access == "generated":
        return "write it with `foundationx data phantoms FOLDER`"
    return f"download {card.title}{f' from {card.home}' if card.home else ''}"


def _folders_in(data_root: Path) -> str:
    """The folders of the data root, one of which may be the dataset's under another name; or that there is no root."""
    if not data_root.is_dir():
        return f"; the data root {data_root} does not exist: name it with --data-root"
    names = sorted(path.name for path in data_root.iterdir() if path.is_dir() and not is_stray_folder(path.name))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" (there are {', '.join(names[:_SHOWN])}{more})" if names else ""


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
