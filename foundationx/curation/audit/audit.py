"""The audit of a run: who and what stands on two sides of the split, or in two datasets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Protocol

from foundationx.core.types import Split
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint_all
from foundationx.curation.audit.pairs import HELD_OUT, Item, Kind, Pair, image_pairs, patient_pairs
from foundationx.data.datamodule import DataModule
from foundationx.datasets.exclusion import Exclusion


@dataclass
class Audit:
    """What was found.

    Attributes:
        items: every image of every dataset.
        pairs: of images, then of patients.
        unreadable: files that could not be compared, and why.
        notes: what the audit could not see, for people.
    """

    items: list[Item]
    pairs: list[Pair]
    unreadable: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Watch(Protocol):
    """Is told how far each stage is."""

    def __call__(self, stage: str, advance: int, total: int) -> None:
        """``advance`` more of ``total`` images or pairs of a stage are done."""


def no_watch(stage: str, advance: int, total: int) -> None:
    """For those who do not want to know."""


def items_of(data_module: DataModule) -> list[Item]:
    """Every image of a run once, with its side; an image that several tasks use is on the strictest side of these.

    Images that the run leaves out (nothing known, limits, exclusion list) are not in it.
    """
    found: dict[tuple[str, str], Item] = {}
    for split in (*HELD_OUT, Split.TRAIN):
        for key, table in data_module.annotations.items():
            for index in data_module.indices[key][split]:
                name = table.images[index]
                path = data_module.roots[key.dataset] / name
                found.setdefault((key.dataset, name), Item(key.dataset, name, table.patients[index], split, path))
    return sorted(found.values(), key=lambda item: (item.dataset, item.image))


def audit(data_module: DataModule, store: Path, parents: Mapping[str, str | None], watch: Watch = no_watch) -> Audit:
    """Compares all images and patients of a run.

    Args:
        data_module: datasets of the run, best opened without exclusion list and limits.
        store: file of fingerprints; made or reused.
        parents: of each dataset the one whose images it re-uses, or None.
        watch: told of the stages.

    Returns:
        Pairs of images and patients. What cannot be read is listed, not compared.
    """
    items = items_of(data_module)
    total = len(items)
    with closing(FingerprintStore(store)) as fingerprints:
        prints, unreadable = fingerprint_all(
            [item.path for item in items], fingerprints, lambda count: watch("fingerprints", count, total)
        )
    pairs = image_pairs(
        items,
        prints,
        lambda count: watch("search", count, total),
        lambda count, number: watch("comparison", count, number),
    )
    return Audit(items, pairs + patient_pairs(items), unreadable, unseen(items, parents))


def exclusions(found: Audit) -> list[Exclusion]:
    """A row for every training image and held-out image (of any dataset) that are one picture or one patient.

    Patients are on one side by construction of the split; their rows appear where ``allow_test`` breaks it.
    """
    by_patient: dict[tuple[str, str, Split], list[Item]] = defaultdict(list)
    for item in found.items:
        by_patient[item.dataset, item.patient, item.split].append(item)
    rows = []
    for pair in found.pairs:
        if not pair.crosses:
            continue
        train, held = (pair.first, pair.second) if pair.first.split is Split.TRAIN else (pair.second, pair.first)
        shared = pair.kind is Kind.PATIENT
        images = by_patient[train.dataset, train.patient, Split.TRAIN] if shared else [train]
        reason = pair.kind.value if pair.kind is not Kind.PERCEPTUAL else f"{pair.kind.value} {pair.score:.3f}"
        rows += [
            Exclusion(item.dataset, item.image, reason, held.dataset, held.image, held.split.value, row="")
            for item in images
        ]
    return sorted(rows, key=lambda row: (row.dataset, row.image, row.of_dataset, row.of_image))


def unseen(items: Sequence[Item], parents: Mapping[str, str | None]) -> list[str]:
    """Datasets that re-use images but share no patient: only pictures can tell there, which the reader should know."""
    patients: dict[str, set[str]] = defaultdict(set)
    for item in items:
        patients[item.dataset].add(item.patient)
    notes = []
    for first, second in combinations(sorted(patients), 2):
        related = second == parents.get(first) or first == parents.get(second)
        siblings = parents.get(first) is not None and parents.get(first) == parents.get(second)
        if (related or siblings) and not patients[first] & patients[second]:
            what = "re-use the images of one dataset" if siblings else "share images by their cards"
            notes.append(f"{first} and {second} {what} but no patient by name: only the pictures can tell")
    return notes
