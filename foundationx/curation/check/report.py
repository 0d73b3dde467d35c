"""The result of checking one dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from foundationx.curation.issues import Issue, IssueKind, Severity, by_severity, count_kinds, group_alike


@dataclass
class CheckReport:
    """The result of checking one dataset.

    Attributes:
        dataset: Name of the card.
        folder: Folder that was checked.
        images: Number of annotated images that are usable according to the annotation files.
        patients: Number of patients of these images.
        decoded: Number of images whose pixels were read.
        labels: Numbers of images in which a class is present, absent and unknown, by task and class.
        strings: Published strings other than class names by task and by what they were taken for (``absent``,
            ``unknown``, ``ignored``), each with its number of rows or cells.
        unknown_regions: Numbers of regions in which a class is unknown and of images with one, by task.
    """

    dataset: str
    folder: str
    images: int = 0
    patients: int = 0
    decoded: int = 0
    labels: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    strings: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    unknown_regions: dict[str, list[int]] = field(default_factory=dict)
    _issues: dict[tuple[IssueKind, str, str, str], Issue] = field(default_factory=dict)

    def add(self, issues: Iterable[Issue]) -> None:
        """Adds issues; an issue that several tasks of one file share is listed once, with all its tasks."""
        for issue in issues:
            key = (issue.kind, issue.file, issue.where, issue.found)
            known = self._issues.get(key)
            if known is not None:
                issue = replace(known, tasks=tuple(dict.fromkeys((*known.tasks, *issue.tasks))))
            self._issues[key] = issue

    @property
    def issues(self) -> list[Issue]:
        """All issues, faults first, then by kind, then in the order in which they were added."""
        return by_severity(self._issues.values())

    def count(self, severity: Severity) -> int:
        """Number of issues of a severity."""
        return sum(issue.severity is severity for issue in self._issues.values())

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "dataset": self.dataset,
            "folder": self.folder,
            "images": self.images,
            "patients": self.patients,
            "decoded": self.decoded,
            "counts": count_kinds(self._issues.values()),
            "groups": [group.as_json() for group in group_alike(self._issues.values())],
            "labels": self.labels,
            "strings": self.strings,
            "unknown_regions": self.unknown_regions,
            "issues": [asdict(issue) for issue in self.issues],
        }
