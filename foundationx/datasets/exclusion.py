"""Images excluded from training: the exclusion list of an audit, and the exceptions of ``allow_test``.

A run guarantees, across all its datasets:

1. A patient in the official test split of one dataset is not used for training in any dataset (``splits.py``).
2. An image in the exclusion list is not used for training in any task of its dataset.

If ``allow_test`` names a dataset, neither holds for its test split: the other datasets may train on its test patients,
and entries that exist only because of its test images are ignored. Its own test images remain its test split.
Not covered: patients whose names differ between datasets, and images that were not audited.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foundationx.core.atomic_write import as_written
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Annotations, Split

COLUMNS = ("dataset", "image", "reason", "of_dataset", "of_image", "of_split")
"""Columns of the list: the image to exclude, the reason, and the held-out image with the same picture or patient."""

APPLIED = Path("audit") / "exclude.csv"
"""List under the data root that ``foundationx data audit --apply`` writes: runs without an own list use it."""

_FIX = "run `foundationx data audit` again"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One row of the list; ``row`` is its location, for messages."""

    dataset: str
    image: str
    reason: str
    of_dataset: str
    of_image: str
    of_split: str
    row: str


def applied_list(data_root: Path) -> Path | None:
    """The list that an audit of the data root has left for all runs; None if there is none."""
    path = data_root / APPLIED
    return path if path.is_file() else None


def audited_datasets(exclude: Path | None) -> tuple[str, ...]:
    """Datasets that the audit beside an exclusion list has compared; none if the list was written by hand."""
    if exclude is None:
        return ()
    try:
        content = json.loads((exclude.parent / "audit.json").read_text(encoding="utf-8"))
        names = content["datasets"]
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def read_exclusions(path: Path) -> list[Exclusion]:
    """Reads an exclusion list. Only ``dataset`` and ``image`` are required, so that a list can be written by hand.

    Raises:
        ConfigError: The file is missing, is not a table, lacks a column or leaves one of the two empty.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in COLUMNS[:2] if name not in (rows.fieldnames or ())]
            if missing:
                raise ConfigError(str(path), f"has no column {', '.join(missing)}", ", ".join(COLUMNS), _FIX)
            entries = [_entry(row, f"{path} row {number}") for number, row in enumerate(rows, start=2)]
    except OSError as error:
        raise ConfigError(
            f"exclude: {path}", f"cannot be opened ({error.strerror})", "an exclusion list", _FIX
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(str(path), f"is not a table ({error})", "comma-separated text in UTF-8", _FIX) from None
    for entry in entries:
        if not entry.dataset or not entry.image:
            raise ConfigError(entry.row, "has no dataset or no image", "both", "complete or remove the row")
    return entries


def _entry(row: Mapping[str, str | None], where: str) -> Exclusion:
    return Exclusion(row=where, **{name: as_written((row.get(name) or "").strip()) for name in COLUMNS})


def excluded_images(
    entries: Iterable[Exclusion],
    annotations: Sequence[Annotations],
    patients: Mapping[str, Split],
    allowed: Sequence[str],
    registry: Iterable[str],
    audited: Iterable[str] = (),
) -> dict[str, set[str]]:
    """Images to exclude from training, by dataset.

    Entries of known cards that are not in the run are ignored, so that one list can serve several runs. An audit has
    seen every image that it lists: one that this run does not have, since it reads other tasks, is ignored, too.

    Args:
        entries: Entries of the list.
        annotations: All tasks of all datasets of the run.
        patients: Split of every patient.
        allowed: Datasets whose test split may be used for training.
        registry: Names of all known cards.
        audited: Datasets whose images were listed by an audit.

    Raises:
        ConfigError: An entry names an unknown dataset or image, or was made for another split: the run trains on its
            held-out image.
    """
    entries = list(entries)
    if not entries:
        return {table.key.dataset: set() for table in annotations}
    patient_of: dict[str, dict[str, str]] = {}
    for table in annotations:
        patient_of.setdefault(table.key.dataset, {}).update(zip(table.images, table.patients, strict=True))
    known, seen = set(registry) | set(patient_of), set(audited)
    excluded: dict[str, set[str]] = {name: set() for name in patient_of}
    for entry in entries:
        for dataset, image in ((entry.dataset, entry.image), (entry.of_dataset, entry.of_image)):
            _check_exists(entry, dataset, "" if dataset in seen else image, patient_of, known)
        if entry.image not in patient_of.get(entry.dataset, {}) or (
            entry.of_split == Split.TEST and entry.of_dataset in allowed
        ):
            continue
        _check_held_out(entry, patient_of, patients, allowed)
        excluded[entry.dataset].add(entry.image)
    return excluded


def _check_exists(
    entry: Exclusion, dataset: str, image: str, patient_of: Mapping[str, Mapping[str, str]], known: Iterable[str]
) -> None:
    if dataset and dataset not in known:
        raise ConfigError(entry.row, f"names the unknown dataset {dataset!r}", nearest(dataset, known), _FIX)
    if image and dataset in patient_of and image not in patient_of[dataset]:
        raise ConfigError(entry.row, f"{dataset} has no image {image!r}", "an image of the dataset", _FIX)


def _check_held_out(
    entry: Exclusion, patient_of: Mapping[str, Mapping[str, str]], patients: Mapping[str, Split], allowed: Sequence[str]
) -> None:
    if entry.of_dataset in allowed or entry.of_image not in patient_of.get(entry.of_dataset, {}):
        return
    if patients[patient_of[entry.of_dataset][entry.of_image]] is Split.TRAIN:
        found = f"states that {entry.of_dataset} {entry.of_image} is held out, but this run trains on it"
        raise ConfigError(entry.row, found, "a list made for this split", _FIX)


def without_allowed_tests(annotations: Sequence[Annotations], allowed: Sequence[str]) -> list[Annotations]:
    """Annotations for assigning splits: the test split of an allowed dataset does not affect other datasets.

    Its official test split is removed for patients who are in another dataset, too.
    """
    if not allowed:
        return list(annotations)
    datasets: Counter[str] = Counter()
    for name in {table.key.dataset for table in annotations}:
        datasets.update({patient for table in annotations if table.key.dataset == name for patient in table.patients})
    return [
        replace(
            table,
            splits=[
                None if split is Split.TEST and datasets[patient] > 1 else split
                for patient, split in zip(table.patients, table.splits, strict=True)
            ],
        )
        if table.key.dataset in allowed
        else table
        for table in annotations
    ]
