"""Groups of the selected datasets: sizes, organisations, labels and conflicts (phase 3 of MDFP)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from foundationx.datasets.fusion.record import Record

LEVELS = (("modality",), ("modality", "anatomy"), ("modality", "task"), ("modality", "task", "anatomy"))
"""Keys by which datasets are grouped; the first is the summary on the portal."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Group:
    """Datasets with the same keys. A dataset of several modalities, tasks or anatomies is in several groups.

    Attributes:
        level: The keys, e.g. ``modality, task``.
        modality: Modality of the datasets.
        task: Task of the datasets; empty if it is no key of the level.
        anatomy: Anatomy of the datasets; empty if it is no key of the level.
        datasets: Number of datasets.
        images: Total of the known numbers of images; images that several datasets use are counted for each.
        images_unknown: Number of datasets with an unknown number of images.
        organisations: Number of distinct recorded organisations.
        storage_gb: Total of the known sizes in gigabytes.
        tasks: Number of distinct recorded tasks.
        anatomies: Number of distinct recorded anatomies.
        labelled_share: Fraction of labelled datasets among those where it is known; None if it is known of none.
        annotations: Kinds of annotations, as recorded in the cards.
        clash: Differences that forbid simple pooling; empty if there are none.
    """

    level: str
    modality: str
    task: str
    anatomy: str
    datasets: int
    images: int
    images_unknown: int
    organisations: int
    storage_gb: float
    tasks: int
    anatomies: int
    labelled_share: float | None
    annotations: tuple[str, ...]
    clash: str


def group(records: Sequence[Record], modalities: Sequence[str] = (), tasks: Sequence[str] = ()) -> list[Group]:
    """All groups of all levels, the largest first within a level.

    Args:
        records: Selected datasets.
        modalities: Modalities of the recipe; other modalities form no group. Empty: all.
        tasks: Tasks of the recipe; other tasks form no group. Empty: all.
    """
    requested = {"modality": set(modalities), "task": set(tasks)}
    result = []
    for level in LEVELS:
        members: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        for record in records:
            for key in itertools.product(*(_values(record, name, requested.get(name)) for name in level)):
                members[key].append(record)
        groups = [_group(dict(zip(level, key, strict=True)), chosen) for key, chosen in members.items()]
        result += sorted(groups, key=lambda item: (-item.datasets, item.modality, item.task, item.anatomy))
    return result


def _values(record: Record, key: str, requested: set[str] | None) -> tuple[str, ...]:
    values = {"modality": record.modalities, "task": record.tasks, "anatomy": record.anatomy}[key]
    return tuple(value for value in values if not requested or value in requested) or (UNKNOWN,)


def _group(key: dict[str, str], records: Sequence[Record]) -> Group:
    images = [record.images for record in records]
    presence = [record.label_presence for record in records if record.label_presence is not None]
    annotations = tuple(sorted({kind for record in records for kind in record.annotations}))
    return Group(
        level=", ".join(key),
        modality=key["modality"],
        task=key.get("task", ""),
        anatomy=key.get("anatomy", ""),
        datasets=len(records),
        images=sum(count for count in images if count is not None),
        images_unknown=images.count(None),
        organisations=len({name.casefold() for record in records for name in record.organisations}),
        storage_gb=sum(record.storage_gb or 0.0 for record in records),
        tasks=len({task for record in records for task in record.tasks}),
        anatomies=len({name for record in records for name in record.anatomy}),
        labelled_share=sum(value != "unlabelled" for value in presence) / len(presence) if presence else None,
        annotations=annotations,
        clash=_clash(records, annotations, "task" in key),
    )


def _clash(records: Sequence[Record], annotations: tuple[str, ...], by_task: bool) -> str:
    """Kinds of annotations that differ, and acquisition protocols that differ (``modality_detail``)."""
    clashes = []
    if not by_task and len(annotations) > 1:
        clashes.append(f"annotations: {' / '.join(annotations)}")
    details = sorted({record.modality_detail for record in records if record.modality_detail})
    if len(details) > 1:
        clashes.append(f"protocols: {' / '.join(details)}")
    return "; ".join(clashes)
