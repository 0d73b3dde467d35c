"""Patient-wise train, validation and test splits across all datasets of a run.

All images of a patient are in one split, in every dataset; otherwise one head would be tested on images on which
another head was trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split

ORDER = (Split.TRAIN, Split.VAL, Split.TEST)
"""Order in which empty splits get patients if there are few."""

STRICTEST = (Split.TEST, Split.VAL, Split.TRAIN)
"""Priority among several official splits of one patient."""


def assign_splits(annotations: Sequence[Annotations], fractions: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Assigns every patient to one split.

    1. An official split has priority; of several, the strictest (test, then val, then train).
    2. A held-out split that a dataset's publisher has fixed gets no other patients of that dataset.
    3. The other patients are assigned dataset by dataset, the smallest first, in the order of a seeded hash: first one
       to each split of the dataset that is still empty (train, val, test), then to the split furthest below its share.

    The result does not depend on the order of datasets, tasks or rows. A dataset has a patient in every split with a
    positive share if none of its splits is official and it has at least as many patients of its own as such splits.

    Args:
        annotations: All tasks of all datasets of a run.
        fractions: Share of the patients in each split; not negative, summing to 1.
        seed: Seed of the random order.

    Returns:
        The split of every patient, in alphabetical order of the patients.

    Raises:
        ConfigError: The shares are negative or do not sum to 1.
    """
    shares = {split: float(fractions.get(split, 0.0)) for split in ORDER}
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        found = ", ".join(f"{split.value} {share:g}" for split, share in shares.items())
        raise ConfigError("split", found, "shares of at least 0 that sum to 1", "correct the shares")
    members = _members(annotations)
    splits = _official(annotations)
    allowed = _allowed(members, _fixed_splits(annotations), shares)
    for dataset in sorted(members, key=lambda name: (len(members[name]), name)):
        _assign(sorted(members[dataset]), splits, allowed, shares, seed)
    return dict(sorted(splits.items()))


def _members(annotations: Sequence[Annotations]) -> dict[str, set[str]]:
    """Patients of each dataset, over all its tasks."""
    members: dict[str, set[str]] = {}
    for table in annotations:
        members.setdefault(table.key.dataset, set()).update(table.patients)
    return members


def _official(annotations: Sequence[Annotations]) -> dict[str, Split]:
    """The strictest official split of each patient that has one."""
    splits: dict[str, Split] = {}
    for table in annotations:
        for patient, split in zip(table.patients, table.splits, strict=True):
            if split is not None:
                splits[patient] = min(split, splits.get(patient, split), key=STRICTEST.index)
    return splits


def _fixed_splits(annotations: Sequence[Annotations]) -> dict[str, set[Split]]:
    """Held-out splits fixed by the publisher of each dataset."""
    fixed: dict[str, set[Split]] = {}
    for table in annotations:
        held_out = {Split.VAL, Split.TEST}.intersection(table.splits)
        fixed.setdefault(table.key.dataset, set()).update(held_out)
    return fixed


def _allowed(
    members: Mapping[str, set[str]], fixed: Mapping[str, set[Split]], shares: Mapping[Split, float]
) -> dict[str, tuple[Split, ...]]:
    """Splits that a patient without official split may get: not fixed in any dataset with the patient."""
    closed: dict[str, set[Split]] = {}
    for dataset, patients in members.items():
        for patient in patients:
            closed.setdefault(patient, set()).update(fixed[dataset])
    return {
        patient: tuple(split for split in ORDER if shares[split] > 0 and split not in splits) or (Split.TRAIN,)
        for patient, splits in closed.items()
    }


def _assign(
    patients: Sequence[str],
    splits: dict[str, Split],
    allowed: Mapping[str, tuple[Split, ...]],
    shares: Mapping[Split, float],
    seed: int,
) -> None:
    """Adds the patients of one dataset that have no split yet to ``splits``."""
    counts = dict.fromkeys(ORDER, 0)
    for patient in patients:
        if patient in splits:
            counts[splits[patient]] += 1
    unassigned = [patient for patient in patients if patient not in splits]
    # Patients with the fewest allowed splits come first, so that the others can fill the remaining splits.
    for patient in sorted(unassigned, key=lambda name: (len(allowed[name]), _hash(seed, name))):
        empty = [split for split in allowed[patient] if counts[split] == 0]
        furthest_below = max(allowed[patient], key=lambda split: shares[split] * len(patients) - counts[split])
        split = empty[0] if empty else furthest_below
        splits[patient] = split
        counts[split] += 1


def _hash(seed: int, patient: str) -> bytes:
    """Order of assignment: the same on all machines, processes and versions of Python, unlike ``hash``."""
    return hashlib.sha256(f"{seed}:{patient}".encode()).digest()
