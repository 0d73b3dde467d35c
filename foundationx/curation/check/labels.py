"""What the annotations of a dataset say as a whole: published counts, classes, official sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from foundationx.core.types import Annotations, Split, Task
from foundationx.curation.check.findings import Finding, Kind, Severity
from foundationx.datasets.cards.card import Card


def label_counts(table: Annotations) -> dict[str, dict[str, int]]:
    """Images in which each class is present, absent and unknown; soft labels count by the nearer side."""
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


def count_findings(
    card: Card, tables: Mapping[Task, Annotations], unnamed: int, left_out: int, partial: bool
) -> Iterator[Finding]:
    """A finding for every published count that the files do not give.

    Args:
        card: with the published counts.
        tables: annotations by task.
        unnamed: images on disk that no annotation names; they are part of a release.
        left_out: images that were left out because of a fault.
        partial: the download is known to be a part: too few is a warning.
    """
    patients = {
        image: who for table in tables.values() for image, who in zip(table.images, table.patients, strict=True)
    }
    sides = {image: side for table in tables.values() for image, side in zip(table.images, table.splits, strict=True)}
    further = f" ({left_out:,} more cannot be used)" if left_out else ""
    expected = card.expected

    def compare(
        key: str, what: str, found: int, published: int | None, tasks: tuple[str, ...] = ()
    ) -> Iterator[Finding]:
        if published is None or found == published:
            return
        severity = Severity.WARNING if partial and found < published else Severity.FAULT
        text = f"found {found:,} of {published:,} {what}{further}"
        fix = "complete the download, or check with --partial" if found < published else "correct the card's count"
        where = f"{card.file.name}: {key}"
        yield Finding(Kind.COUNTS, severity, "", where, text, f"{published:,} as published", fix, tasks)

    if expected.images not in (None, len(patients) + unnamed):
        yield from compare("expected.images", "images", len(patients), expected.images)
    if card.patient is not None:
        yield from compare("expected.patients", "patients", len(set(patients.values())), expected.patients)
    for side, published in expected.splits.items():
        number = sum(found is side for found in sides.values())
        yield from compare(f"expected.splits.{side.value}", f"{side.value} images", number, published)
    for task, table in tables.items():
        key, published, name = f"tasks.{task.value}.expected", card.tasks[task].expected, (task.value,)
        yield from compare(f"{key}.images", f"images of {task.value}", len(table), published.images, name)
        if table.boxes is not None:
            number = sum(map(len, table.boxes))
            yield from compare(f"{key}.boxes", "boxes", number, published.boxes, name)
        counts = label_counts(table)
        for class_name, positives in published.positives.items():
            number = counts[class_name]["present"]
            yield from compare(f"{key}.positives.{class_name}", f"images with {class_name}", number, positives, name)


def class_findings(table: Annotations) -> Iterator[Finding]:
    """A warning for every class that no image has, that is unknown everywhere, or that has no negative."""
    task = table.key.task
    for name, count in label_counts(table).items():
        if count["unknown"] == len(table):
            found, fix = "is unknown in every image", "check the class's published names in the card"
        elif count["present"] == 0:
            found, fix = "occurs in no image", "check the class's published names, or leave the class out"
        elif count["absent"] == 0 and task is Task.CLASSIFICATION:
            found, fix = "has no known negative: it cannot be scored", "check what an absent class means in the card"
        else:
            continue
        where = f"tasks.{task.value}.classes: {name}"
        yield Finding(Kind.CLASSES, Severity.WARNING, "", where, f"{name} {found}", fix=fix, tasks=(task.value,))


def side_findings(tables: Mapping[Task, Annotations]) -> Iterator[Finding]:
    """A warning for every patient whose images are officially on several sides."""
    seen: dict[str, dict[Split, tuple[str, str]]] = {}
    for table in tables.values():
        for image, patient, row, side in zip(table.images, table.patients, table.rows, table.splits, strict=True):
            if side is not None:
                seen.setdefault(patient, {}).setdefault(side, (image, row))
    for patient, sides in seen.items():
        if len(sides) > 1:
            shown = ", ".join(f"{side.value} ({image})" for side, (image, _) in sides.items())
            image, row = list(sides.values())[-1]
            fix = "training puts the patient on the strictest side: test, then val, then train"
            found = f"{patient} is on several sides: {shown}"
            yield Finding(Kind.SIDES, Severity.WARNING, image, row, found, "one side a patient", fix)
