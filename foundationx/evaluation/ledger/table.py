"""The ledger as a table for people, as JSON for the report, and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from foundationx.core.atomic_write import csv_text
from foundationx.evaluation.ledger.judge import LEVEL, Entry, Ledger, Verdict

DIGITS = 3
"""Decimals in tables for people; CSV and JSON have all of them."""

FILE = "ledger.json"
"""The ledger in the joint run's work directory."""

COLUMNS = (
    "head",
    "site",
    "metric",
    "class",
    "patients",
    "joint",
    "alone",
    "joint - alone",
    "p",
    "corrected",
    "verdict",
)


def cells(entry: Entry) -> list[str]:
    """One line of the table, in the order of ``COLUMNS``."""
    metric = f"{entry.metric} (lower)" if entry.lower_is_better else entry.metric
    site = f"{entry.site} ({entry.note})" if entry.note else entry.site
    values = [_number(entry.joint), _number(entry.alone), _difference(entry)]
    tests = [_p(entry.p), _p(entry.adjusted), entry.verdict.value]
    return [str(entry.head), site, metric, entry.class_name, str(entry.patients), *values, *tests]


def summary(ledger: Ledger) -> list[list[str]]:
    """One line per head: verdict, how many sites are harmed and helped, and the site that lost most."""
    lines = []
    for head, verdict in ledger.verdicts().items():
        own = [entry for entry in ledger.entries if entry.head == head]
        counts = [sum(entry.verdict is kind for entry in own) for kind in (Verdict.HARMED, Verdict.HELPED)]
        worst = ledger.worst(head)
        where = f"{worst.site}: {worst.metric} {_difference(worst)}" if worst is not None else "-"
        lines.append([str(head), verdict.value, *map(str, counts), str(len(own)), where])
    return lines


SUMMARY = ("head", "verdict", "harmed", "helped", "tests", "site that lost most, or gained least")


def note(ledger: Ledger, joint_runs: int, alone_runs: int) -> str:
    """What the table shows, in one paragraph."""
    several = joint_runs > 1 or alone_runs > 1
    text = "Differences with 95 % intervals of bootstrap draws by patient"
    text += ", and between runs by Student's t" if several else "; one run of a kind says nothing of other seeds"
    return (
        f"{text}. A verdict needs p < {LEVEL:g} after Holm's correction for all {ledger.tests} tests; "
        "cannot tell is no proof that there is no difference"
    )


def as_json(ledger: Ledger, joint: Sequence[str], alone: Sequence[str]) -> dict[str, Any]:
    """Plain values, as the report reads them."""
    verdicts = {str(head): verdict.value for head, verdict in ledger.verdicts().items()}
    return {
        "title": f"joint ({', '.join(joint)}) minus alone ({', '.join(alone)})",
        "note": note(ledger, len(joint), len(alone)),
        "notes": [*ledger.notes, *(f"{head}: no run of its own" for head in ledger.missing)],
        "tests": ledger.tests,
        "verdicts": verdicts,
        "summary": [dict(zip(SUMMARY, line, strict=True)) for line in summary(ledger)],
        "rows": [dict(zip(COLUMNS, cells(entry), strict=True)) for entry in ledger.entries],
        "entries": [_plain(entry) for entry in ledger.entries],
    }


def markdown(ledger: Ledger) -> str:
    """Summary and entries as markdown."""
    lines = [_line(SUMMARY), _line(["---"] * len(SUMMARY)), *map(_line, summary(ledger)), ""]
    lines += [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(cells(entry)) for entry in ledger.entries)]
    return "\n".join([*lines, ""])


def as_csv(ledger: Ledger) -> str:
    """One line per entry, with all decimals; empty if not defined."""
    rows = [_plain(entry) for entry in ledger.entries]
    header = list(rows[0]) if rows else [item.name for item in fields(Entry)]
    return csv_text(header, [["" if value is None else value for value in row.values()] for row in rows])


FORMATS: dict[str, Callable[[Ledger], str]] = {".md": markdown, ".csv": as_csv}
"""Writers by the ending of the file's name."""


def _plain(entry: Entry) -> dict[str, Any]:
    values = {item.name: getattr(entry, item.name) for item in fields(Entry)}
    return values | {"head": str(entry.head), "verdict": entry.verdict.value}


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{DIGITS}f}"


def _difference(entry: Entry) -> str:
    if entry.difference is None:
        return "-"
    text = f"{entry.difference:+.{DIGITS}f}"
    return text if entry.low is None or entry.high is None else f"{text} [{entry.low:+.3f}, {entry.high:+.3f}]"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
