"""What may not be trained on: the exclusion list of an audit, and test sides that are opened by name.

What is guaranteed of a run, for all its datasets together:

1. A patient on the official test side of any dataset of the run is trained on in none (``registry/splits.py``).
2. An image that the exclusion list names is trained on in no task of its dataset.

Both hold unless ``allow_test`` names the dataset whose test side it is: then the other datasets may train on its test
patients, and entries that are there only because of its test images are passed over. Its own test images stay its test.
Not covered: patients whose names differ between datasets, and images that no audit has looked at.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Annotations, Split

COLUMNS = ("dataset", "image", "reason", "of_dataset", "of_image", "of_split")
"""Of the list: the image to leave out, why, and the held-out image that it shares a picture or patient with."""

_MEND = "run `foundationx data audit` again"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One row of the list; ``row`` says where it stands."""

    dataset: str
    image: str
    reason: str
    of_dataset: str
    of_image: str
    of_split: str
    row: str


def read_exclusions(path: Path) -> list[Exclusion]:
    """Reads an exclusion list. Only ``dataset`` and ``image`` must be filled, so that one can be written by hand.

    Raises:
        ConfigError: the file is missing, is not a table, lacks a column or leaves one of the two empty.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in COLUMNS[:2] if name not in (rows.fieldnames or ())]
            if missing:
                raise ConfigError(str(path), f"has no column {', '.join(missing)}", ", ".join(COLUMNS), _MEND)
            entries = [
                Exclusion(*((row.get(name) or "").strip() for name in COLUMNS), row=f"{path} row {number}")
                for number, row in enumerate(rows, start=2)
            ]
    except OSError as error:
        raise ConfigError(f"exclude: {path}", f"cannot be opened ({error.strerror})", "a list", _MEND) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(str(path), f"is not a table ({error})", "comma-separated text in UTF-8", _MEND) from None
    for entry in entries:
        if not entry.dataset or not entry.image:
            raise ConfigError(entry.row, "names no dataset or no image", "both", "fill or remove the row")
    return entries


def excluded_images(
    entries: Iterable[Exclusion],
    annotations: Sequence[Annotations],
    patients: Mapping[str, Split],
    allowed: Sequence[str],
    registry: Iterable[str],
) -> dict[str, set[str]]:
    """Images to leave out of training, by dataset.

    Entries of a card that is known but not in the run are passed over: one list may serve several runs.

    Args:
        entries: of the list.
        annotations: all tasks of all datasets of the run.
        patients: side of every patient.
        allowed: datasets whose test side may be trained on.
        registry: names of all known cards.

    Raises:
        ConfigError: an entry names an unknown dataset or image, or was made for another split: what it calls held out
            is trained on.
    """
    owners: dict[str, dict[str, str]] = {}
    for table in annotations:
        owners.setdefault(table.key.dataset, {}).update(zip(table.images, table.patients, strict=True))
    known, found = set(registry) | set(owners), {name: set() for name in owners}
    for entry in entries:
        for dataset, image in ((entry.dataset, entry.image), (entry.of_dataset, entry.of_image)):
            _must_exist(entry, dataset, image, owners, known)
        if entry.dataset not in owners or (entry.of_split == Split.TEST and entry.of_dataset in allowed):
            continue
        _must_be_held_out(entry, owners, patients, allowed)
        found[entry.dataset].add(entry.image)
    return found


def _must_exist(
    entry: Exclusion, dataset: str, image: str, owners: Mapping[str, Mapping[str, str]], known: Iterable[str]
) -> None:
    if dataset and dataset not in known:
        raise ConfigError(entry.row, f"names the unknown dataset {dataset!r}", nearest(dataset, known), _MEND)
    if image and dataset in owners and image not in owners[dataset]:
        raise ConfigError(entry.row, f"{dataset} has no image {image!r}", "an image of the dataset", _MEND)


def _must_be_held_out(
    entry: Exclusion, owners: Mapping[str, Mapping[str, str]], patients: Mapping[str, Split], allowed: Sequence[str]
) -> None:
    if entry.of_dataset in allowed or entry.of_image not in owners.get(entry.of_dataset, {}):
        return
    if patients[owners[entry.of_dataset][entry.of_image]] is Split.TRAIN:
        found = f"says that {entry.of_dataset} {entry.of_image} is held out, but this run trains on it"
        raise ConfigError(entry.row, found, "a list made for this split", _MEND)


def without_allowed_tests(annotations: Sequence[Annotations], allowed: Sequence[str]) -> list[Annotations]:
    """The annotations as the split shall see them: where a dataset's test side is allowed, it binds no other dataset.

    The official test side of an allowed dataset is dropped for patients who are in another dataset too.
    """
    datasets: Counter[str] = Counter()
    for name in {table.key.dataset for table in annotations}:
        datasets.update({patient for table in annotations if table.key.dataset == name for patient in table.patients})
    return [
        replace(
            table,
            splits=[
                None if side is Split.TEST and datasets[patient] > 1 else side
                for patient, side in zip(table.patients, table.splits, strict=True)
            ],
        )
        if table.key.dataset in allowed
        else table
        for table in annotations
    ]
