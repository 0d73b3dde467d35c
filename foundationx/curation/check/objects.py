"""Objects that an annotation file lists twice."""

from __future__ import annotations

from collections.abc import Iterator

from foundationx.core.types import Annotations
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.tasks.detection.target import repeated


def object_issues(table: Annotations) -> Iterator[Issue]:
    """A warning for every image in which two boxes of one class are equal to the last digit."""
    if table.key.task.facts.part != "boxes":
        return
    for image, row, boxes in zip(table.images, table.rows, table.targets, strict=True):
        for index in repeated(boxes).nonzero()[0] if len(boxes.boxes) > 1 else ():
            name, corners = table.classes[boxes.box_classes[index]], [round(float(c), 2) for c in boxes.boxes[index]]
            found = f"{name} is listed twice with the box {corners} (x1, y1, x2, y2)"
            fix = "none needed: it counts once; remove the second annotation"
            yield Issue(
                IssueKind.TARGETS, Severity.WARNING, image, row, found, "each object once", fix, (table.key.task.value,)
            )
