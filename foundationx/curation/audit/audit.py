"""The audit of a run: patients and images that are in two splits, or in two datasets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from foundationx.core.errors import DataError
from foundationx.core.shards import Shard
from foundationx.core.types import Split
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint_all
from foundationx.curation.audit.pairs import HELD_OUT, Item, Match, Pair, image_pairs, patient_pairs
from foundationx.curation.issues import Issue, IssueKind, Severity
from foundationx.data.datamodule import DataModule
from foundationx.datasets.cards.card import Card
from foundationx.datasets.exclusion import Exclusion
from foundationx.datasets.relations import unmatched_groups


@dataclass
class Audit:
    """The result of an audit.

    Attributes:
        items: All images of all datasets.
        pairs: Pairs of images, then of patients.
        issues: Leaks, files that could not be compared, and the limits of the audit.
    """

    items: list[Item]
    pairs: list[Pair]
    issues: list[Issue] = field(default_factory=list)


class StageProgress(Protocol):
    """Progress callback of an audit."""

    def __call__(self, stage: str, advance: int, total: int) -> None:
        """Called when ``advance`` more of the ``total`` images or pairs of a stage are done."""


def no_progress(stage: str, advance: int, total: int) -> None:
    """Shows nothing."""


def items_of(data_module: DataModule) -> list[Item]:
    """Every image of a run once, with its split; an image that several tasks use is in the strictest of their splits.

    Images that the run leaves out (without annotation, limits, exclusion list) are not included.
    """
    items: dict[tuple[str, str], Item] = {}
    for split in (*HELD_OUT, Split.TRAIN):
        for key, table in data_module.annotations.items():
            for index in data_module.indices[key][split]:
                name = table.images[index]
                path = data_module.roots[key.dataset] / name
                items.setdefault((key.dataset, name), Item(key.dataset, name, table.patients[index], split, path))
    return sorted(items.values(), key=lambda item: (item.dataset, item.image))


def audit(data_module: DataModule, store: Path, cards: Sequence[Card], progress: StageProgress = no_progress) -> Audit:
    """Compares all images and patients of a run.

    Args:
        data_module: Datasets of the run, best opened without exclusion list and limits.
        store: File of fingerprints; created or reused. Those that shards have made are joined first.
        cards: Cards of the datasets, which say whose images they reuse.
        progress: Callback for the progress of each stage.

    Returns:
        Pairs of images and patients. Files that cannot be read are issues and are not compared.
    """
    items = items_of(data_module)
    total = len(items)
    with closing(FingerprintStore(store)) as fingerprints:
        for part in sorted(store.parent.glob(f"{store.stem}-*-of-*{store.suffix}")):
            fingerprints.join(part)
        prints, unreadable = fingerprint_all(
            [item.path for item in items], fingerprints, lambda count: progress("fingerprints", count, total)
        )
    pairs = image_pairs(
        items,
        prints,
        lambda count: progress("search", count, total),
        lambda count, number: progress("comparison", count, number),
    )
    pairs += patient_pairs(items)
    issues = [*leaks(items, pairs), *_unreadable(unreadable), *unrelated_names(items, cards)]
    return Audit(items, pairs, issues)


def fingerprint_shard(
    data_module: DataModule, store: Path, shard: Shard, progress: StageProgress = no_progress
) -> tuple[Path, int]:
    """Makes the fingerprints of one share of the images, which take nearly all of the time of an audit.

    Args:
        data_module: Datasets of the run.
        store: File of the whole audit; that of the shard lies beside it.
        shard: Share of the images.
        progress: Callback for the progress.

    Returns:
        The shard's file, and its number of images.
    """
    items = [item for item in items_of(data_module) if shard.has(f"{item.dataset}/{item.image}")]
    part, total = store.with_stem(f"{store.stem}-{shard}"), len(items)
    with closing(FingerprintStore(part)) as fingerprints:
        fingerprint_all(
            [item.path for item in items], fingerprints, lambda count: progress("fingerprints", count, total)
        )
    return part, total


def exclusions(items: Sequence[Item], pairs: Sequence[Pair]) -> list[Exclusion]:
    """A row for every training image and held-out image (of any dataset) that are one picture or one patient.

    The split puts each patient into one split; rows for patients occur only if ``allow_test`` overrides it.
    """
    by_patient: dict[tuple[str, str, Split], list[Item]] = defaultdict(list)
    for item in items:
        by_patient[item.dataset, item.patient, item.split].append(item)
    rows = []
    for pair in pairs:
        if not pair.crosses:
            continue
        train, held = (pair.first, pair.second) if pair.first.split is Split.TRAIN else (pair.second, pair.first)
        shared = pair.match is Match.PATIENT
        images = by_patient[train.dataset, train.patient, Split.TRAIN] if shared else [train]
        reason = pair.match.value if pair.match is not Match.PERCEPTUAL else f"{pair.match.value} {pair.score:.3f}"
        rows += [
            Exclusion(item.dataset, item.image, reason, held.dataset, held.image, held.split.value, row="")
            for item in images
        ]
    return sorted(rows, key=lambda row: (row.dataset, row.image, row.of_dataset, row.of_image))


def leaks(items: Sequence[Item], pairs: Sequence[Pair]) -> Iterator[Issue]:
    """A fault for every dataset with training images that are held out in it or in another dataset."""
    images = {(row.dataset, row.image) for row in exclusions(items, pairs)}
    for dataset, count in sorted(Counter(dataset for dataset, _ in images).items()):
        found = f"{count:,} training images show a held-out picture or patient"
        fix = "leave them out: exclude = 'exclude.csv' of this audit in the configuration"
        yield Issue(IssueKind.LEAKS, Severity.FAULT, "", dataset, found, "none", fix)


def _unreadable(errors: Mapping[Path, DataError]) -> Iterator[Issue]:
    for path, error in errors.items():
        yield Issue.from_error(error, IssueKind.IMAGES, str(path), "not compared", severity=Severity.WARNING)


def unrelated_names(items: Sequence[Item], cards: Sequence[Card]) -> Iterator[Issue]:
    """A note for datasets that share images but no patient name: only the pictures can reveal shared patients."""
    patients: dict[str, set[str]] = {card.name: set() for card in cards}
    for item in items:
        patients[item.dataset].add(item.patient)
    for group in unmatched_groups(cards, patients):
        names = ", ".join(group)
        found = (
            f"{names} share images by their cards, but no patient name: only the pictures can reveal shared patients"
        )
        fix = "none needed; if a table maps the patients, name it in the cards (patient.tables, patient.namespace)"
        yield Issue(IssueKind.PATIENT_NAMES, Severity.NOTE, "", names, found, fix=fix)
