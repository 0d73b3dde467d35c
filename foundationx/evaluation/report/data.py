"""The page's sections on data: what there is, what was skipped, what went wrong."""

from __future__ import annotations

from foundationx.core.types import Split
from foundationx.evaluation.report.facts import Facts
from foundationx.evaluation.report.html import details, section, table_of

MOST_SKIPPED = 200
"""Skipped samples listed on the page; the rest is counted."""


def datasets(facts: Facts) -> str:
    """Images and patients of each head by split, what is excluded from training, and the positives of each class."""
    if not facts.datasets:
        return ""
    by_head: dict[tuple[str, str], dict[str, dict]] = {}
    for row in facts.datasets:
        by_head.setdefault((row["dataset"], row["task"]), {})[row["split"]] = row
    sizes, positives = [], []
    for (dataset, task), rows in by_head.items():
        cells = [f"{rows[s]['images']:,} ({rows[s]['patients']:,})" if s in rows else "-" for s in Split]
        excluded = sum(row.get("excluded", 0) for row in rows.values())
        sizes.append([f"{dataset} {task}", *cells, f"{excluded:,}"])
        names = dict.fromkeys(c["name"] for row in rows.values() for c in row["classes"])
        positives += [[f"{dataset} {task}", name, *(_positives(rows.get(s), name) for s in Split)] for name in names]
    splits = [split.value for split in Split]
    note = (
        "<p class='quiet'>Images, and patients in brackets. Excluded: images that would train, but that the exclusion "
        "list names.</p>"
    )
    table = note + table_of(["head", *splits, "excluded"], sizes, numbers=4)
    classes = "<p class='quiet'>Positive of known labels; unknown labels are left out.</p>" + table_of(
        ["head", "class", *splits], positives, numbers=3
    )
    return section("Data", table + details("Positives of each class", classes))


def _positives(row: dict | None, name: str) -> str:
    counts = [c for c in row["classes"] if c["name"] == name] if row else []
    return "".join(f"{c['positive']:,} of {c['positive'] + c['negative']:,}" for c in counts) or "-"


def bad(facts: Facts) -> str:
    """What could not be used, and why."""
    if not facts.bad:
        return section("Skipped samples", "<p class='quiet'>None.</p>")
    rows = [[f"{b['dataset']} {b['task']}", b["file"], b["row"], b["reason"]] for b in facts.bad[:MOST_SKIPPED]]
    more = len(facts.bad) - len(rows)
    note = f"<p class='quiet'>and {more:,} more in bad_samples.json</p>" if more else ""
    table = table_of(["head", "file", "row", "reason"], rows, numbers=0)
    return section(f"Skipped samples: {len(facts.bad):,}", table + note)


def incidents(facts: Facts) -> str:
    """The newest incidents; "" if there was none."""
    shown = facts.incidents[-MOST_SKIPPED:]
    rows = [[f"{i['step']:,}", f"{i['dataset']} {i['task']}", i["message"], ", ".join(i["images"])] for i in shown]
    table = table_of(["step", "head", "what", "images"], rows, numbers=0)
    return section(f"Incidents: {len(facts.incidents):,}", table) if rows else ""
