"""What a check or an audit reports: issues with a kind, a severity, a location and a fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foundationx.core.errors import FoundationXError

SHOWN = 12
"""Groups of each kind that are printed; the written report holds all issues."""


NAMED = 3
"""Further files of a group that are named."""


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


@dataclass(frozen=True)
class Group:
    """Issues of one kind, cause and value.

    Attributes:
        members: The issues, in the given order.
    """

    members: tuple[Issue, ...]

    @property
    def first(self) -> Issue:
        """The issue that stands for all."""
        return self.members[0]

    def line(self) -> str:
        """The first issue in one line, and how many are alike."""
        others = self.members[1:]
        if not others:
            return self.first.line()
        names = list(dict.fromkeys(filter(None, (issue.file or issue.where for issue in others))))[:NAMED]
        further = f": {', '.join(names)}{', ...' if len(others) > len(names) else ''}" if names else ""
        return f"{self.first.line()} [and {len(others):,} more alike{further}]"

    def as_json(self) -> dict[str, Any]:
        """The group as plain values."""
        first = self.first
        facts = {"severity": first.severity.value, "kind": first.kind.value, "count": len(self.members)}
        return facts | {"first": first.line(), "found": first.found, "expected": first.expected, "fix": first.fix}


def group_alike(issues: Iterable[Issue]) -> list[Group]:
    """Issues grouped by kind, cause and value: by severity and kind, and within these the most frequent first.

    The cause is the text without the names of files and without numbers, so that 53,368 images that all lack a suffix
    are one group; a quoted value (a finding that the card does not name) makes a group of its own.
    """
    groups: dict[tuple[object, ...], list[Issue]] = {}
    for issue in by_severity(issues):
        groups.setdefault((issue.severity, issue.kind, _cause(issue)), []).append(issue)
    ordered = sorted((Group(tuple(members)) for members in groups.values()), key=lambda group: -len(group.members))
    places = {id(group.first): place for place, group in enumerate(ordered)}
    firsts = by_severity(group.first for group in ordered)
    return [ordered[places[id(first)]] for first in firsts]


def _cause(issue: Issue) -> tuple[str, str, str]:
    """What is wrong, without what differs from file to file."""
    names = sorted({issue.file, issue.file.rpartition("/")[2], issue.where} - {""}, key=len, reverse=True)
    texts = []
    for text in (issue.found, issue.expected, issue.fix):
        for name in names:
            text = text.replace(name, "…")
        text = re.sub(r"did you mean .*\?", "did you mean …?", text)
        texts.append(re.sub(r"\S*/\S*|\d[\d.,]*", "…", text))
    return texts[0], texts[1], texts[2]


def report_lines(issues: Iterable[Issue], rest: str) -> Iterator[str]:
    """Issues as text, by severity, kind, cause and value, with at most ``SHOWN`` lines per kind.

    Args:
        issues: Issues in any order.
        rest: File that lists all of them, for the line that ends a shortened group.
    """
    kinds: dict[tuple[str, str], list[Group]] = {}
    for group in group_alike(issues):
        kinds.setdefault((group.first.severity.value, group.first.kind.value), []).append(group)
    for (severity, kind), groups in kinds.items():
        yield f"  {severity}s, {kind}: {sum(len(group.members) for group in groups):,}"
        yield from (f"    {group.line()}" for group in groups[:SHOWN])
        if len(groups) > SHOWN:
            rested = sum(len(group.members) for group in groups[SHOWN:])
            yield f"    and {rested:,} more ({rest})"
