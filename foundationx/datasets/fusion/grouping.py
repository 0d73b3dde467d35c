"""The kept datasets in groups (phase 3 of MDFP, ``mdfp.md`` A.2): sizes, organisations, labels, and what clashes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from foundationx.datasets.fusion.record import Record

LEVELS = (("modality",), ("modality", "anatomy"), ("modality", "task"), ("modality", "task", "anatomy"))
"""Keys by which datasets are grouped; the first is the portal's summary."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Group:
    """Datasets with the same keys. A dataset of several modalities, tasks or anatomies is in several groups.

    Attributes:
        level: the keys, ``modality, task``.
        modality, task, anatomy: values of the keys; empty where the level does not have it.
        datasets: how many.
        images: of those whose number is known, together; a parent's images count again with each that re-uses them.
        images_unknown: datasets whose number of images is not known.
        organisations: different ones, as far as recorded.
        storage_gb: of those whose size is known, together.
        tasks: different ones, as far as recorded.
        anatomies: different ones, as far as recorded.
        labelled_share: of the datasets of which it is known; None where of none.
        annotations: kinds of annotation; from cards, where tables do not say.
        clash: what must not be pooled blindly; empty where nothing clashes.
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
        records: kept datasets.
        modalities: that the recipe asks for; what else a dataset holds makes no group. None given: all.
        tasks: likewise.
    """
    wanted = {"modality": set(modalities), "task": set(tasks)}
    found = []
    for level in LEVELS:
        members: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        for record in records:
            for key in itertools.product(*(_values(record, name, wanted.get(name)) for name in level)):
                members[key].append(record)
        groups = [_group(dict(zip(level, key, strict=True)), chosen) for key, chosen in members.items()]
        found += sorted(groups, key=lambda one: (-one.datasets, one.modality, one.task, one.anatomy))
    return found


def _values(record: Record, key: str, wanted: set[str] | None) -> tuple[str, ...]:
    values = {"modality": record.modalities, "task": record.tasks, "anatomy": record.anatomy}[key]
    return tuple(value for value in values if not wanted or value in wanted) or (UNKNOWN,)


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
        organisations=len({one.casefold() for record in records for one in record.organisations}),
        storage_gb=sum(record.storage_gb or 0.0 for record in records),
        tasks=len({task for record in records for task in record.tasks}),
        anatomies=len({name for record in records for name in record.anatomy}),
        labelled_share=sum(one != "unlabelled" for one in presence) / len(presence) if presence else None,
        annotations=annotations,
        clash=_clash(records, annotations, "task" in key),
    )


def _clash(records: Sequence[Record], annotations: tuple[str, ...], by_task: bool) -> str:
    """Annotations that are not the same thing, and ways of recording that differ (``modality_detail``)."""
    faults = []
    if not by_task and len(annotations) > 1:
        faults.append(f"annotations: {' / '.join(annotations)}")
    details = sorted({record.modality_detail for record in records if record.modality_detail})
    if len(details) > 1:
        faults.append(f"protocols: {' / '.join(details)}")
    return "; ".join(faults)
