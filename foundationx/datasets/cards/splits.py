"""The split: which side every patient is on, the same for all datasets.

A patient's images in several datasets are all on one side; otherwise what one head was trained on, another would be
tested on (``foundation_x.md`` 4.2, trap 5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split

ORDER = (Split.TRAIN, Split.VAL, Split.TEST)
"""Which side is served first where patients are few."""

STRICTEST = (Split.TEST, Split.VAL, Split.TRAIN)
"""Which of several official sides of one patient wins."""


def assign_splits(annotations: Sequence[Annotations], fractions: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Puts every patient on one side.

    1. An official side wins; of several, the strictest (test, then val, then train).
    2. A held-out side that a dataset's publisher has fixed takes no further patients of that dataset.
    3. The other patients are dealt dataset by dataset, the smallest first, in the order of a seeded hash: first one to
       each side of the dataset that is still empty (train, val, test), then to the side that lacks most of its share.

    The result does not depend on the order of datasets, tasks or rows. A dataset has a patient on every side with a
    share, if at least as many of its patients are in no other dataset as there are such sides and none is official.

    Args:
        annotations: all tasks of all datasets of a run.
        fractions: share of the patients on each side; not negative, summing to 1.
        seed: of the dealing.

    Returns:
        The side of every patient, in alphabetical order of the patients.

    Raises:
        ConfigError: the shares are negative or do not sum to 1.
    """
    shares = {side: float(fractions.get(side, 0.0)) for side in ORDER}
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        found = ", ".join(f"{side.value} {share:g}" for side, share in shares.items())
        raise ConfigError("split", found, "shares of at least 0 that sum to 1", "correct the shares")
    members = _members(annotations)
    sides = _official(annotations)
    allowed = _allowed(members, _fixed_sides(annotations), shares)
    for dataset in sorted(members, key=lambda name: (len(members[name]), name)):
        _deal(sorted(members[dataset]), sides, allowed, shares, seed)
    return dict(sorted(sides.items()))


def _members(annotations: Sequence[Annotations]) -> dict[str, set[str]]:
    """Patients of each dataset, over all its tasks."""
    members: dict[str, set[str]] = {}
    for table in annotations:
        members.setdefault(table.key.dataset, set()).update(table.patients)
    return members


def _official(annotations: Sequence[Annotations]) -> dict[str, Split]:
    """The strictest official side of each patient that has one."""
    sides: dict[str, Split] = {}
    for table in annotations:
        for patient, side in zip(table.patients, table.splits, strict=True):
            if side is not None:
                sides[patient] = min(side, sides.get(patient, side), key=STRICTEST.index)
    return sides


def _fixed_sides(annotations: Sequence[Annotations]) -> dict[str, set[Split]]:
    """Held-out sides that each dataset's publisher has fixed."""
    fixed: dict[str, set[Split]] = {}
    for table in annotations:
        fixed.setdefault(table.key.dataset, set()).update(set(table.splits) & {Split.VAL, Split.TEST})
    return fixed


def _allowed(
    members: Mapping[str, set[str]], fixed: Mapping[str, set[Split]], shares: Mapping[Split, float]
) -> dict[str, tuple[Split, ...]]:
    """Sides that a patient without official side may get: open in every dataset that holds the patient."""
    closed: dict[str, set[Split]] = {}
    for dataset, patients in members.items():
        for patient in patients:
            closed.setdefault(patient, set()).update(fixed[dataset])
    return {
        patient: tuple(side for side in ORDER if shares[side] > 0 and side not in sides) or (Split.TRAIN,)
        for patient, sides in closed.items()
    }


def _deal(
    patients: Sequence[str],
    sides: dict[str, Split],
    allowed: Mapping[str, tuple[Split, ...]],
    shares: Mapping[Split, float],
    seed: int,
) -> None:
    """Gives the patients of one dataset that have no side yet a side, in ``sides``."""
    counts = dict.fromkeys(ORDER, 0)
    for patient in patients:
        if patient in sides:
            counts[sides[patient]] += 1
    waiting = [patient for patient in patients if patient not in sides]
    # Who has least choice goes first, so that the others can fill the sides that are left.
    for patient in sorted(waiting, key=lambda name: (len(allowed[name]), _hash(seed, name))):
        empty = [side for side in allowed[patient] if counts[side] == 0]
        lacking = max(allowed[patient], key=lambda side: shares[side] * len(patients) - counts[side])
        side = empty[0] if empty else lacking
        sides[patient] = side
        counts[side] += 1


def _hash(seed: int, patient: str) -> bytes:
    """Order of dealing: stable over machines, processes and versions of Python, unlike ``hash``."""
    return hashlib.sha256(f"{seed}:{patient}".encode()).digest()
