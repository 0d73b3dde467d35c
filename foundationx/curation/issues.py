"""What a check or an audit reports: issues with a kind, a severity, a location and a fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from foundationx.core.errors import FoundationXError

SHOWN = 5
"""Issues of each kind that are printed; the written report holds all."""


class Severity(StrEnum):
    """A fault keeps data from being used as published; a warning is worth a look; a note is neither."""

    FAULT = "fault"
    WARNING = "warning"
    NOTE = "note"


class IssueKind(StrEnum):
    """Subject of an issue, in the order in which kinds are shown."""

    LEAKS = "training images that are held out elsewhere"
    FILES = "missing files and folders"
    TABLES = "annotation files"
    COUNTS = "counts"
    ROWS = "annotation rows"
    ABSENT = "missing images"
    IMAGES = "images"
    TARGETS = "boxes and masks"
    CLASSES = "classes"
    SPLITS = "official splits"
    CONSTANT = "images of one grey value"
    DUPLICATES = "duplicate files"
    UNANNOTATED = "files without annotation"
    PATIENT_NAMES = "patient names"


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem of a dataset.

    Attributes:
        kind: Subject of the issue.
        severity: Fault, warning or note.
        file: Image or annotation file; empty if the issue concerns no single file.
        where: Row or key in the annotation file.
        found: Actual state, as in every error of the project.
        expected: Expected state.
        fix: What the user can do.
        tasks: Tasks that are affected; empty if the whole dataset is.
    """

    kind: IssueKind
    severity: Severity
    file: str
    where: str
    found: str
    expected: str = ""
    fix: str = ""
    tasks: tuple[str, ...] = ()

    @classmethod
    def from_error(
        cls,
        error: FoundationXError,
        kind: IssueKind,
        file: str,
        where: str = "",
        tasks: tuple[str, ...] = (),
        severity: Severity = Severity.FAULT,
    ) -> Issue:
        """The issue that an error describes; ``where`` is the error's own unless given."""
        return cls(kind, severity, file, where or error.where, error.found, error.expected, error.fix, tasks)

    def line(self) -> str:
        """The issue in one line: file (row): found; expected: ...; fix: ..."""
        location = f"{self.file} ({self.where})" if self.file and self.where else self.file or self.where
        parts = [f"{location}: {self.found}" if location else self.found]
        parts += [f"expected: {self.expected}"] if self.expected else []
        parts += [f"fix: {self.fix}"] if self.fix else []
        return "; ".join(parts)


def by_severity(issues: Iterable[Issue]) -> list[Issue]:
    """Faults first, then by kind, then in the given order."""
    severities, kinds = list(Severity), list(IssueKind)
    return sorted(issues, key=lambda issue: (severities.index(issue.severity), kinds.index(issue.kind)))


def count_kinds(issues: Iterable[Issue]) -> dict[str, dict[str, int]]:
    """Number of issues by severity and kind."""
    counts: dict[str, dict[str, int]] = {}
    for issue in by_severity(issues):
        kinds = counts.setdefault(issue.severity.value, {})
        kinds[issue.kind.value] = kinds.get(issue.kind.value, 0) + 1
    return counts


def report_lines(issues: Iterable[Issue], rest: str) -> Iterator[str]:
    """Issues as text, grouped by severity and kind, with at most ``SHOWN`` lines per group.

    Args:
        issues: Issues in any order.
        rest: File that lists all of them, for the line that ends a shortened group.
    """
    groups: dict[tuple[str, str], list[Issue]] = {}
    for issue in by_severity(issues):
        groups.setdefault((issue.severity.value, issue.kind.value), []).append(issue)
    for (severity, kind), members in groups.items():
        yield f"  {severity}s, {kind}: {len(members):,}"
        yield from (f"    {issue.line()}" for issue in members[:SHOWN])
        if len(members) > SHOWN:
            yield f"    and {len(members) - SHOWN:,} more ({rest})"
