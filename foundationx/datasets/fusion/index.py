"""Phase 4 of MDFP (``mdfp.md`` A.2): the audit table, the alignment and the index, as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foundationx.datasets.fusion.align import Alignment, Member
from foundationx.datasets.fusion.blueprint import Entry
from foundationx.datasets.fusion.grouping import Group
from foundationx.datasets.fusion.harmonise import address_of
from foundationx.datasets.fusion.record import Record, joined
from foundationx.datasets.fusion.select import Decision
from foundationx.datasets.fusion.spellings import CLINICAL_USE


def audit_rows(decisions: Sequence[Decision], entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One row a dataset: the decision with its reason, whether it trains, the facts, and what to look at.

    Kept datasets come first. Unknown facts are None.
    """
    by_name = {entry.name: entry for entry in entries}
    kept = [decision.record for decision in decisions if decision.kept]
    rows = []
    for decision in sorted(decisions, key=lambda one: not one.kept):
        record, entry = decision.record, by_name.get(decision.record.name) if decision.kept else None
        rows.append(
            {
                "dataset": record.name,
                "title": record.title,
                "decision": "kept" if decision.kept else "dropped",
                "reason": "; ".join(decision.reasons) or "all that is asked for holds or is let pass",
                "not_known": joined(decision.unknown),
                "trains": joined(tuple(task.value for task in entry.tasks)) if entry else None,
                "obstacle": (entry.obstacle or None) if entry else None,
                "shares_images_with": joined(_relatives(record, kept)) if decision.kept else None,
                **_facts(record),
            }
        )
    return rows


def _facts(record: Record) -> dict[str, Any]:
    return {
        "tasks": joined(record.tasks),
        "clinical_use": "; ".join(CLINICAL_USE[task] for task in record.tasks if task in CLINICAL_USE) or None,
        "annotations": joined(record.annotations),
        "dimension": joined(record.dimensions),
        "modality": joined(record.modalities),
        "anatomy": joined(record.anatomy),
        "images": record.images,
        "label_presence": record.label_presence,
        "organisations": joined(record.organisations),
        "released": record.released,
        "storage_gb": record.storage_gb,
        "licence": record.licence,
        "redistribution": record.redistribution,
        "commercial": record.commercial,
        "access": record.access,
        "home": record.home,
        "notes": record.notes,
        "unverified": joined(record.unverified),
        "table_rows": joined(record.rows),
        "filled_from_table": joined(record.filled),
        "differences": "; ".join(record.differences) or None,
    }


def _relatives(record: Record, kept: Sequence[Record]) -> tuple[str, ...]:
    """Kept datasets that re-use this one's images or whose images it re-uses, by the cards, or of the same address."""
    address = address_of(record.home)
    return tuple(
        other.name
        for other in kept
        if other is not record
        and (
            other.name == record.parent
            or other.parent == record.name
            or (record.parent is not None and record.parent == other.parent)
            or (address is not None and address == address_of(other.home))
        )
    )


def alignment_rows(alignment: Alignment) -> list[dict[str, str]]:
    """One row a class of a head."""
    return [_class_row(member) for member in alignment.members]


def alignment_json(alignment: Alignment) -> dict[str, Any]:
    """By concept: its place in the vocabulary, its classes, the heads for which it is unknown, and near concepts."""
    concepts = [
        {
            "concept": concept,
            "path": list(alignment.vocabulary.path(concept)),
            "classes": [_class_row(member) for member in members],
            "unknown_for": [str(head) for head in alignment.unknown_for(concept)],
            "near_but_not_the_same": [_class_row(member) for member in alignment.kin_of(concept)],
        }
        for concept, members in alignment.concepts().items()
    ]
    targets = {
        name: [{"head": str(member.head), "class": member.name} for member in members]
        for name, members in alignment.targets().items()
    }
    alone = [_class_row(member) for member in alignment.members if not member.concept]
    return {"may_share_a_target": targets, "concepts": concepts, "without_concept": alone}


def _class_row(member: Member) -> dict[str, str]:
    return {
        "concept": member.concept,
        "head": str(member.head),
        "class": member.name,
        "relation": member.relation,
        "polarity": member.polarity,
        "shares": member.shares,
        "why_not": member.why,
    }


def group_rows(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """One row a group."""
    return [asdict(one) | {"annotations": joined(one.annotations)} for one in groups]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table with a header; an unknown value is an empty cell. Nothing but an empty file where there is no row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Readable JSON."""
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
