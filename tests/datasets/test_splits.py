"""The split: official sides, patients shared by datasets, shares, determinism."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.datasets.splits import assign_splits

SHARES = {Split.TRAIN: 0.7, Split.VAL: 0.15, Split.TEST: 0.15}
ORDER = [Split.TRAIN, Split.VAL, Split.TEST]


def table(dataset: str, patients: list[str], splits=None, task=Task.CLASSIFICATION) -> Annotations:
    n = len(patients)
    return Annotations(
        key=TaskKey(dataset, task),
        classes=("A",),
        images=[f"{i}.png" for i in range(n)],
        patients=patients,
        rows=[f"row {i}" for i in range(n)],
        labels=np.zeros((n, 1), dtype=np.float32),
        splits=splits or [None] * n,
    )


def people(prefix: str, n: int) -> list[str]:
    return [f"{prefix}:{i}" for i in range(n)]


def test_shares_are_met_within_one_patient():
    sides = assign_splits([table("a", people("a", 100))], SHARES, 0)
    assert Counter(sides.values()) == {Split.TRAIN: 70, Split.VAL: 15, Split.TEST: 15}


@pytest.mark.parametrize(
    ("n", "expected"), [(1, {Split.TRAIN}), (2, {Split.TRAIN, Split.VAL}), (3, set(Split)), (4, set(Split))]
)
def test_few_patients_serve_train_then_val_then_test(n, expected):
    assert set(assign_splits([table("a", people("a", n))], SHARES, 0).values()) == expected


def test_a_share_of_nothing_gets_nobody():
    shares = {Split.TRAIN: 0.8, Split.VAL: 0.2, Split.TEST: 0.0}
    assert Counter(assign_splits([table("a", people("a", 10))], shares, 0).values()) == {Split.TRAIN: 8, Split.VAL: 2}


def test_the_strictest_official_split_wins():
    sides = assign_splits(
        [
            table("a", ["p", "q", "r"], [Split.TRAIN, Split.TRAIN, Split.VAL]),
            table("b", ["p", "q", "r"], [Split.VAL, Split.TEST, Split.TEST]),
        ],
        SHARES,
        0,
    )
    assert sides == {"p": Split.VAL, "q": Split.TEST, "r": Split.TEST}


def test_a_fixed_test_split_receives_no_further_patients():
    """ChestX-ray14 fixes its test list and leaves training and validation to the user."""
    patients = people("a", 100)
    official = [Split.TEST if i < 5 else None for i in range(100)]
    sides = assign_splits([table("a", patients, official)], SHARES, 0)
    assert [p for p, side in sides.items() if side is Split.TEST] == sorted(patients[:5])
    counts = Counter(sides.values())
    assert counts[Split.TRAIN] + counts[Split.VAL] == 95
    assert counts[Split.VAL] > 0


def test_a_fixed_split_holds_for_the_patient_in_other_datasets_too():
    shared = people("s", 30)
    official = [Split.TEST] + [None] * 29
    sides = assign_splits(
        [table("big", shared + people("b", 50), official + [None] * 50), table("c", shared)], SHARES, 0
    )
    assert [p for p in shared if sides[p] is Split.TEST] == shared[:1]


def test_all_splits_fixed_leaves_training():
    official = [Split.TRAIN, Split.VAL, Split.TEST, None, None]
    sides = assign_splits([table("a", people("a", 5), official)], SHARES, 0)
    assert sides["a:3"] is sides["a:4"] is Split.TRAIN


def test_the_seed_changes_who_and_not_how_many():
    first, second = (assign_splits([table("a", people("a", 60))], SHARES, seed) for seed in (0, 1))
    assert first != second
    assert Counter(first.values()) == Counter(second.values())


def test_another_process_deals_alike():
    code = (
        "import tests.datasets.test_splits as t\n"
        "sides = t.assign_splits([t.table('a', t.people('a', 40))], t.SHARES, 3)\n"
        "print(','.join(side.value for side in sides.values()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(__file__).parents[2])}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = assign_splits([table("a", people("a", 40))], SHARES, 3)
    assert there.stdout.strip() == ",".join(side.value for side in here.values())


@pytest.mark.parametrize("shares", [{Split.TRAIN: 0.5}, {Split.TRAIN: 1.5, Split.VAL: -0.5}])
def test_shares_that_are_none(shares):
    with pytest.raises(ConfigError, match="sum to 1"):
        assign_splits([table("a", ["p"])], shares, 0)


PATIENTS = st.integers(0, 25).map(lambda i: f"p:{i}")
OFFICIAL = st.sampled_from([None, None, None, *ORDER])
DATASET = st.lists(st.tuples(PATIENTS, OFFICIAL), min_size=1, max_size=30)
DATASETS = st.lists(DATASET, min_size=1, max_size=4)


def tables(drawn) -> list[Annotations]:
    return [table(f"d{i}", [p for p, _ in rows], [s for _, s in rows]) for i, rows in enumerate(drawn)]


@settings(max_examples=150, deadline=None)
@given(drawn=DATASETS, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_everybody_has_a_split_whatever_the_order(drawn, seed, order):
    sides = assign_splits(tables(drawn), SHARES, seed)
    assert set(sides) == {patient for rows in drawn for patient, _ in rows}
    shuffled = [(i, order.sample(rows, len(rows))) for i, rows in enumerate(drawn)]
    order.shuffle(shuffled)
    again = [table(f"d{i}", [p for p, _ in rows], [s for _, s in rows]) for i, rows in shuffled]
    assert assign_splits(again, SHARES, seed) == sides


@settings(max_examples=150, deadline=None)
@given(drawn=DATASETS, seed=st.integers(0, 5))
def test_official_splits_hold_and_the_strictest_wins(drawn, seed):
    sides = assign_splits(tables(drawn), SHARES, seed)
    official: dict[str, set[Split]] = {}
    for rows in drawn:
        for patient, side in rows:
            official.setdefault(patient, set()).update({side} - {None})
    for patient, given_sides in official.items():
        for side in (Split.TEST, Split.VAL, Split.TRAIN):
            if side in given_sides:
                assert sides[patient] is side
                break


@settings(max_examples=150, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), common=st.integers(0, 10), seed=st.integers(0, 5))
def test_every_dataset_with_enough_patients_of_its_own_is_in_every_split(sizes, common, seed):
    shared = people("shared", common)
    drawn = {f"d{i}": people(f"d{i}", n) + shared for i, n in enumerate(sizes)}
    sides = assign_splits([table(name, patients) for name, patients in drawn.items()], SHARES, seed)
    for (name, patients), n in zip(drawn.items(), sizes, strict=True):
        counts = Counter(sides[p] for p in patients)
        if n >= len(SHARES):
            assert set(counts) == set(SHARES), name
        if not common and n >= 1 / min(SHARES.values()):
            assert all(abs(counts[side] - share * n) <= 1 for side, share in SHARES.items()), name
