"""What a check says: findings with a kind, a severity, a place and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from foundationx.core.errors import FoundationXError


class Severity(StrEnum):
    """A fault keeps data from being used as published; a warning is worth a look; a note is neither."""

    FAULT = "fault"
    WARNING = "warning"
    NOTE = "note"


class Kind(StrEnum):
    """What a finding is about, in the order in which kinds are shown."""

    FILES = "missing files and folders"
    TABLES = "annotation files"
    COUNTS = "counts"
    ROWS = "annotation rows"
    ABSENT = "images that are not there"
    IMAGES = "images"
    TARGETS = "boxes and masks"
    CLASSES = "classes"
    SIDES = "official sides"
    CONSTANT = "images of one grey value"
    TWINS = "files of equal bytes"
    UNNAMED = "files that no annotation names"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        tasks: that it is about; none where it is about the whole dataset.
        file: image or annotation file, as far as there is one.
        where: row or key in the annotation file, for people.
        found, expected, fix: as in every error of the project.
    """

    kind: Kind
    severity: Severity
    file: str
    where: str
    found: str
    expected: str = ""
    fix: str = ""
    tasks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, error: FoundationXError, kind: Kind, file: str, where: str = "", tasks: tuple[str, ...] = ()
    ) -> Finding:
        """A fault from an error; ``where`` is the error's own unless it is given."""
        return cls(kind, Severity.FAULT, file, where or error.where, error.found, error.expected, error.fix, tasks)


@dataclass
class Report:
    """What the check of one dataset came to.

    Attributes:
        dataset: name of the card.
        folder: that was checked.
        images: that are annotated and usable as far as the annotation files tell.
        patients: of these images.
        decoded: images whose pixels were read.
        labels: images in which each class is present, absent and unknown; by task and class.
    """

    dataset: str
    folder: str
    images: int = 0
    patients: int = 0
    decoded: int = 0
    labels: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    _found: dict[tuple[Kind, str, str, str], Finding] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        """Takes findings; what several tasks of one file have in common is one finding."""
        for finding in findings:
            key = (finding.kind, finding.file, finding.where, finding.found)
            known = self._found.get(key)
            if known is not None:
                finding = replace(known, tasks=tuple(dict.fromkeys((*known.tasks, *finding.tasks))))
            self._found[key] = finding

    @property
    def findings(self) -> list[Finding]:
        """All findings, faults first, then by kind, then in the order in which they were found."""
        severities, kinds = list(Severity), list(Kind)
        return sorted(self._found.values(), key=lambda f: (severities.index(f.severity), kinds.index(f.kind)))

    def count(self, severity: Severity) -> int:
        """Findings of a severity."""
        return sum(finding.severity is severity for finding in self._found.values())

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        groups: dict[str, dict[str, int]] = {}
        for finding in self.findings:
            group = groups.setdefault(finding.severity.value, {})
            group[finding.kind.value] = group.get(finding.kind.value, 0) + 1
        return {
            "dataset": self.dataset,
            "folder": self.folder,
            "images": self.images,
            "patients": self.patients,
            "decoded": self.decoded,
            "counts": groups,
            "labels": self.labels,
            "findings": [asdict(finding) for finding in self.findings],
        }
