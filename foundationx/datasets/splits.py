"""Patient-wise train, validation and test splits across all datasets of a run.

All images of a patient are in one split, in every dataset; otherwise one head would be tested on images on which
another head was trained. A patient's split is a function of the seed and the patient: other patients and datasets that
join or leave move nobody, except for the official splits that they bring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split

ORDER = (Split.TRAIN, Split.VAL, Split.TEST)
"""Order of the splits' shares in [0, 1), and of splits that are dealt to."""

STRICTEST = (Split.TEST, Split.VAL, Split.TRAIN)
"""Priority among several official splits of one patient."""

_LOOKED_AT = 200
"""Patients of a dataset among whom every split is looked for."""

_WHOLE = 2**64
"""Number of positions that a hash of 8 bytes can have."""


def assign_splits(
    annotations: Sequence[Annotations],
    fractions: Mapping[Split, float],
    seed: int,
    listed: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Assigns every patient to one split.

    1. An official split has priority; of several, the strictest (test, then val, then train). Lists of one's own count
       like official ones.
    2. A held-out split that a dataset's publisher or a list has fixed gets no other patients of that dataset.
    3. Any other patient is in the split in whose share the hash of seed and name falls. If that split is closed by rule
       2, a second hash chooses among the open ones.

    So the result does not depend on the order of datasets, tasks or rows, and without official splits not on which
    other patients there are. A split of few patients may be empty, and shares hold on average.

    Args:
        annotations: All tasks of all datasets of a run.
        fractions: Share of the patients in each split; not negative, summing to 1.
        seed: Seed of the hash.
        listed: Splits of patients by lists of one's own.

    Returns:
        The split of every patient, in alphabetical order of the patients.

    Raises:
        ConfigError: The shares are negative or do not sum to 1.
    """
    shares = checked_shares(fractions)
    splits = official_splits(annotations, listed)
    closed = _closed(annotations, listed or {})
    for patient, fixed in closed.items():
        if patient not in splits:
            splits[patient] = hashed_split(patient, shares, seed, fixed)
    return dict(sorted(splits.items()))


def checked_shares(fractions: Mapping[Split, float]) -> dict[Split, float]:
    """The share of every split. Raises ConfigError: they are negative or do not sum to 1."""
    shares = {split: float(fractions.get(split, 0.0)) for split in ORDER}
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        found = ", ".join(f"{split.value} {share:g}" for split, share in shares.items())
        raise ConfigError("split", found, "shares of at least 0 that sum to 1", "correct the shares")
    return shares


def official_splits(annotations: Sequence[Annotations], listed: Mapping[str, Split] | None = None) -> dict[str, Split]:
    """The strictest official or listed split of each patient of the run that has one."""
    splits: dict[str, Split] = {}
    for table in annotations:
        if not listed and set(table.splits) <= {None}:
            continue
        for patient, official in dict.fromkeys(zip(table.patients, table.splits, strict=True)):
            for split in (official, (listed or {}).get(patient)):
                if split is not None:
                    splits[patient] = min(split, splits.get(patient, split), key=STRICTEST.index)
    return splits


def hashed_split(
    patient: str, shares: Mapping[Split, float], seed: int, closed: Iterable[Split] = frozenset()
) -> Split:
    """The split of a patient by a hash that is the same on all machines, unlike ``hash``.

    Args:
        patient: Name of the patient with its namespace.
        shares: Share of every split, summing to 1.
        seed: Seed of the hash.
        closed: Splits that take no patients by hash.
    """
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    split = _split_at(int.from_bytes(digest[:8], "big") / _WHOLE, shares)
    if split not in closed:
        return split
    rest = {split: share for split, share in shares.items() if share > 0 and split not in closed}
    total = sum(rest.values())
    if not rest:
        return Split.TRAIN
    return _split_at(int.from_bytes(digest[8:16], "big") / _WHOLE, {s: share / total for s, share in rest.items()})


def _split_at(position: float, shares: Mapping[Split, float]) -> Split:
    """The split whose share contains a position in [0, 1); shares are laid out in their order."""
    end, last = 0.0, Split.TRAIN
    for split in ORDER:
        if share := shares.get(split, 0.0):
            end, last = end + share, split
            if position < end:
                return split
    return last


def _closed(annotations: Sequence[Annotations], listed: Mapping[str, Split]) -> dict[str, frozenset[Split]]:
    """For each patient the held-out splits that are fixed in any dataset with the patient."""
    fixed: dict[str, set[Split]] = {}
    for table in annotations:
        splits = set(table.splits)
        if listed:
            splits.update(map(listed.get, table.patients))
        fixed.setdefault(table.key.dataset, set()).update({Split.VAL, Split.TEST}.intersection(splits))
    nothing: frozenset[Split] = frozenset()
    closed: dict[str, frozenset[Split]] = {}
    for table in annotations:
        here = frozenset(fixed[table.key.dataset])
        for patient in dict.fromkeys(table.patients):
            before = closed.get(patient, nothing)
            closed[patient] = before if here <= before else before | here
    return closed


def deal_splits(
    annotations: Sequence[Annotations],
    fractions: Mapping[Split, float],
    seed: int,
    listed: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Splits by counts: the shares of every dataset and class are met as closely as possible, no split stays empty.

    Patients who have a split, official or listed, keep it. The others are dealt class by class, the rarest first, then
    dataset by dataset, each patient to the split that is furthest below its share (iterative stratification; Sechidis
    et al., ECML PKDD 2011). Unlike :func:`assign_splits` the result depends on all patients: it is meant to be written
    to a list, to which new patients are added by another call.

    Args:
        annotations: All tasks of all datasets.
        fractions: Share of the patients in each split.
        seed: Seed of the order in which patients are dealt.
        listed: Splits of patients that are settled already.

    Returns:
        The split of every patient, in alphabetical order of the patients.
    """
    shares = checked_shares(fractions)
    splits = official_splits(annotations, listed)
    closed = _closed(annotations, {})
    for patients in _strata(annotations):
        deal(patients, shares, seed, splits, closed)
    return dict(sorted(splits.items()))


def deal(
    patients: Iterable[str],
    shares: Mapping[Split, float],
    seed: int,
    splits: dict[str, Split],
    closed: Mapping[str, frozenset[Split]] | None = None,
) -> None:
    """Adds the patients of one group that have no split yet to ``splits``.

    In the order of a hash, a patient goes to the first split of the group that is still empty (train, val, test), then
    to the split furthest below its share.
    """
    group = set(patients)
    counts = {split: sum(splits.get(patient) is split for patient in group) for split in ORDER}
    open_to = {p: [s for s in ORDER if shares[s] > 0 and s not in (closed or {}).get(p, ())] for p in group}
    left = [patient for patient in group if patient not in splits]
    for patient in sorted(left, key=lambda name: (len(open_to[name]), _order(seed, name))):
        choice = open_to[patient] or [Split.TRAIN]
        empty = [split for split in choice if counts[split] == 0]
        split = empty[0] if empty else max(choice, key=lambda one: shares[one] * len(group) - counts[one])
        splits[patient] = split
        counts[split] += 1


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}:{patient}".encode()).digest()


def _strata(annotations: Sequence[Annotations]) -> Iterator[set[str]]:
    """Patients with each class of each dataset, the rarest first, then all patients of each dataset."""
    strata: list[tuple[int, str, set[str]]] = []
    members: dict[str, set[str]] = {}
    for table in annotations:
        members.setdefault(table.key.dataset, set()).update(table.patients)
        names = np.array(table.patients, dtype=object)
        for column, name in enumerate(table.classes):
            having = set(names[table.labels[:, column] >= 0.5])
            strata.append((len(having), f"{table.key} {name}", having))
    yield from (patients for _, _, patients in sorted(strata, key=lambda entry: entry[:2]))
    yield from (members[name] for name in sorted(members, key=lambda name: (len(members[name]), name)))


def seed_that_fills(
    annotations: Sequence[Annotations],
    fractions: Mapping[Split, float],
    listed: Mapping[str, Split] | None = None,
    tried: int = 1000,
) -> int | None:
    """The first seed that puts patients of every dataset into every split that takes some by hash, or None.

    Args:
        annotations: All tasks of all datasets.
        fractions: Share of the patients in each split.
        listed: Splits of patients by lists of one's own.
        tried: Number of seeds to try.
    """
    shares, official, closed = checked_shares(fractions), official_splits(annotations, listed), _closed(annotations, {})
    free: dict[str, list[str]] = {}
    for table in annotations:
        names = sorted(set(table.patients) - official.keys())
        free.setdefault(table.key.dataset, []).extend(names[:_LOOKED_AT])
    groups = {
        name: {split for split, share in shares.items() if share > 0 and any(split not in closed[p] for p in patients)}
        for name, patients in free.items()
    }
    for seed in range(tried):
        if all(
            wanted <= {hashed_split(patient, shares, seed, closed[patient]) for patient in free[name]}
            for name, wanted in groups.items()
        ):
            return seed
    return None
