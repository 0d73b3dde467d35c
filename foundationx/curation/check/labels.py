"""Checks over all annotations of a dataset: published counts, classes, official splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from foundationx.core.types import Annotations, Split, Task
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.datasets.cards.card import Card


def label_counts(table: Annotations) -> dict[str, dict[str, int]]:
    """Number of images in which each class is present, absent and unknown; soft labels are rounded."""
    unknown = np.isnan(table.labels)
    present = np.nan_to_num(table.labels) >= 0.5
    return {
        name: {
            "present": int(present[:, k].sum()),
            "absent": int((~present & ~unknown)[:, k].sum()),
            "unknown": int(unknown[:, k].sum()),
        }
        for k, name in enumerate(table.classes)
    }


_T = TypeVar("_T")


def _by_image(tables: Mapping[Task, Annotations], values: Callable[[Annotations], Sequence[_T]]) -> dict[str, _T]:
    """A value of each image of all tasks."""
    return {image: value for table in tables.values() for image, value in zip(table.images, values(table), strict=True)}


def count_issues(
    card: Card, tables: Mapping[Task, Annotations], unannotated: int, skipped: int, partial: bool, left_out: int = 0
) -> Iterator[Issue]:
    """An issue for every published count that differs from the files.

    Args:
        card: Card with the published counts.
        tables: Annotations by task.
        unannotated: Number of image files without annotation; they are part of a release.
        skipped: Number of images that were skipped because of a fault.
        partial: Whether the download is known to be partial, so that too few images are only a warning.
        left_out: Number of rows that a join of the card leaves out; so many images of the release may be missing.
    """
    patients = _by_image(tables, lambda table: table.patients)
    splits = _by_image(tables, lambda table: table.splits)
    further = f" ({skipped:,} more cannot be used)" if skipped else ""
    expected = card.expected

    def compare(
        key: str, what: str, number: int, published: int | None, tasks: tuple[str, ...] = ()
    ) -> Iterator[Issue]:
        if published is None or number == published:
            return
        text = f"found {number:,} of {published:,} {what}{further}"
        if not tasks and number < published <= number + left_out:
            severity, fix = Severity.NOTE, "none needed: the card leaves them out"
            text += f"; {left_out:,} rows have no match in a joined table"
        else:
            severity = Severity.WARNING if partial and number < published else Severity.FAULT
            fix = "complete the download, or check with --partial" if number < published else "correct the card's count"
        where = f"{card.file.name}: {key}"
        yield Issue(IssueKind.COUNTS, severity, "", where, text, f"{published:,} as published", fix, tasks)

    if expected.images not in (None, len(patients) + unannotated):
        yield from compare("expected.images", "images", len(patients), expected.images)
    if card.patient is not None:
        yield from compare("expected.patients", "patients", len(set(patients.values())), expected.patients)
    for split, images in expected.splits.items():
        number = sum(actual is split for actual in splits.values())
        yield from compare(f"expected.splits.{split.value}", f"{split.value} images", number, images)
    for task, table in tables.items():
        key, published, name = f"tasks.{task.value}.expected", card.tasks[task].expected, (task.value,)
        yield from compare(f"{key}.images", f"images of {task.value}", len(table), published.images, name)
        if task.facts.part == "boxes":
            number = sum(task.facts.count(target) for target in table.targets)
            yield from compare(f"{key}.boxes", "boxes", number, published.boxes, name)
        counts = label_counts(table)
        for class_name, positives in published.positives.items():
            number = counts[class_name]["present"]
            yield from compare(f"{key}.positives.{class_name}", f"images with {class_name}", number, positives, name)


def class_issues(table: Annotations) -> Iterator[Issue]:
    """A warning for every class that no image has, that is unknown in every image, or that has no negative."""
    task = table.key.task
    for name, count in label_counts(table).items():
        if count["unknown"] == len(table):
            found, fix = "is unknown in every image", "check the class's published names in the card"
        elif count["present"] == 0:
            found, fix = "occurs in no image", "check the class's published names, or remove the class from the card"
        elif count["absent"] == 0 and task.facts.part == "labels":
            found, fix = "has no known negative: it cannot be scored", "check what an absent class means in the card"
        else:
            continue
        where = f"tasks.{task.value}.classes: {name}"
        yield Issue(IssueKind.CLASSES, Severity.WARNING, "", where, f"{name} {found}", fix=fix, tasks=(task.value,))


def split_issues(tables: Mapping[Task, Annotations]) -> Iterator[Issue]:
    """A warning for every patient whose images are officially in several splits."""
    first: dict[str, dict[Split, tuple[str, str]]] = {}
    for table in tables.values():
        for image, patient, row, split in zip(table.images, table.patients, table.rows, table.splits, strict=True):
            if split is not None:
                first.setdefault(patient, {}).setdefault(split, (image, row))
    for patient, splits in first.items():
        if len(splits) > 1:
            shown = ", ".join(f"{split.value} ({image})" for split, (image, _) in splits.items())
            image, row = list(splits.values())[-1]
            fix = "none needed: training puts the patient into the strictest split (test, then val, then train)"
            found = f"{patient} is in several splits: {shown}"
            yield Issue(IssueKind.SPLITS, Severity.WARNING, image, row, found, "one split per patient", fix)
