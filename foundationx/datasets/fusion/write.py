"""The files of a fusion: configuration, audit table, licences, groups, alignment and metadata (phase 4 of MDFP)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foundationx.core.atomic_write import (
    write_atomically,
    write_csv,
    write_json,
    write_json_lines,
)
from foundationx.datasets.fusion.aliases import CLINICAL_USE
from foundationx.datasets.fusion.align import Alignment, Member
from foundationx.datasets.fusion.blueprint import Entry, config_text, run_values
from foundationx.datasets.fusion.fuse import Fusion
from foundationx.datasets.fusion.grouping import Group
from foundationx.datasets.fusion.harmonise import address_of
from foundationx.datasets.fusion.licences import licence_report
from foundationx.datasets.fusion.record import Record, joined
from foundationx.datasets.fusion.select import Decision

NOT_KNOWN = "NA"
"""Value of the published schema for unknown facts."""

_PRESENCE = {"labelled": "labeled", "unlabelled": "unlabeled", "mixed": "mixed"}
_TASKS = {"localisation": "localization"}
_JOINED = ", "


def write_fusion(fusion: Fusion, folder: Path, *, allow_code: bool = False) -> None:
    """Writes audit, licences, groups, alignment and metadata, and finally the configuration.

    Args:
        fusion: What was decided.
        folder: Output folder.
        allow_code: Trust the recipe's source: its ``run.base`` may name Python files, which are run.

    Raises:
        RecipeError: Nothing can be trained; all files but ``config.py`` are written.
        ConfigError: Base files and recipe form no valid configuration; all files but ``config.py`` are written.
    """
    config = folder / "config.py"
    config.unlink(missing_ok=True)  # that of an earlier recipe would not match the other files
    audit = audit_rows(fusion.decisions, fusion.entries)
    write_table(folder / "audit.csv", audit)
    write_json(folder / "audit.json", audit, ascii_only=False)
    write_atomically(folder / "licences.md", licence_report(*fusion.kept_by_use()))
    write_table(folder / "groups.csv", group_rows(fusion.groups))
    write_table(folder / "alignment.csv", alignment_rows(fusion.alignment))
    write_json(folder / "alignment.json", alignment_json(fusion.alignment), ascii_only=False)
    write_json_lines(folder / "data-meta.jsonl", map(meta_of, fusion.kept), ascii_only=False)
    values = run_values(fusion.recipe, fusion.entries, allow_code=allow_code)
    write_atomically(config, config_text(values, fusion.recipe))


def audit_rows(decisions: Sequence[Decision], entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One row per dataset: the decision with its reason, the tasks to train, and the facts.

    Selected datasets come first. Unknown facts are None.
    """
    by_name = {entry.name: entry for entry in entries}
    kept = [decision.record for decision in decisions if decision.kept]
    rows = []
    for decision in sorted(decisions, key=lambda decision: not decision.kept):
        record, entry = decision.record, by_name.get(decision.record.name) if decision.kept else None
        rows.append(
            {
                "dataset": record.name,
                "title": record.title,
                "decision": "kept" if decision.kept else "dropped",
                "reason": "; ".join(decision.reasons) or "all conditions hold, or the policy lets unknown facts pass",
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
    """Selected datasets that share images with this one according to the cards, or that have the same address."""
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
    """One row per class and head."""
    return [_class_row(member) for member in alignment.members]


def alignment_json(alignment: Alignment) -> dict[str, Any]:
    """Per concept: path in the vocabulary, classes, heads for which it is unknown, and related classes."""
    concepts = [
        {
            "concept": concept,
            "path": list(alignment.vocabulary.path(concept)),
            "classes": [_class_row(member) for member in members],
            "unknown_for": [str(head) for head in alignment.unknown_for(concept)],
            "related_but_different": [_class_row(member) for member in alignment.related(concept)],
        }
        for concept, members in alignment.concepts().items()
    ]
    targets = {
        name: [{"head": str(member.head), "class": member.name} for member in members]
        for name, members in alignment.targets().items()
    }
    without_concept = [_class_row(member) for member in alignment.members if not member.concept]
    return {"may_share_a_target": targets, "concepts": concepts, "without_concept": without_concept}


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
    """One row per group."""
    return [asdict(group) | {"annotations": joined(group.annotations)} for group in groups]


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with a header; unknown values are empty cells. Without rows, the file is empty."""
    write_csv(path, list(rows[0]) if rows else [], rows)


def meta_of(record: Record) -> dict[str, Any]:
    """The sixteen fields of Project Imaging-X in their published order and spelling.

    ``valid_image_n`` is known only if somebody counted the images after cleaning; published counts are in
    ``data_volume``.
    """
    valid = {"total": record.valid_images} if record.valid_images is not None else NOT_KNOWN
    return {
        "dataset_name": record.title,
        "release_date": record.released or NOT_KNOWN,
        "homepage_url": record.home or NOT_KNOWN,
        "organization": _JOINED.join(record.organisations) or NOT_KNOWN,
        "challenge_series": record.challenge or NOT_KNOWN,
        "license": record.spdx or record.licence or NOT_KNOWN,
        "dataset_description": record.description or NOT_KNOWN,
        "modality_primary": _JOINED.join(record.modalities) or NOT_KNOWN,
        "modality_secondary": record.modality_detail or NOT_KNOWN,
        "anatomical_structure": _JOINED.join(record.anatomy) or NOT_KNOWN,
        "disease": _JOINED.join(record.diseases) or NOT_KNOWN,
        "data_volume": record.volume or NOT_KNOWN,
        "valid_image_n": valid,
        "label_presence": _PRESENCE.get(record.label_presence or "", NOT_KNOWN),
        "task_type": _JOINED.join(_TASKS.get(task, task) for task in record.tasks) or NOT_KNOWN,
        "num_classes_per_task": record.classes_per_task or NOT_KNOWN,
    }
