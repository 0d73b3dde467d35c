"""The split: official sides, patients shared by datasets, shares, determinism."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.datasets.splits import assign_splits, deal, deal_splits, hashed_split, seed_that_fills

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


def test_shares_are_met_on_average():
    counts = Counter(assign_splits([table("a", people("a", 10_000))], SHARES, 0).values())
    for split, share in SHARES.items():
        assert abs(counts[split] - share * 10_000) < 4 * (share * (1 - share) * 10_000) ** 0.5


def test_a_position_in_a_share_is_its_split():
    """SHA-256 of seed and name as a number in [0, 1): the same on every machine and in every version of Python."""
    for patient in ("nih:1", "nih:19124", *people("a", 20)):
        digest = hashlib.sha256(f"5:{patient}".encode()).hexdigest()
        position = int(digest[:16], 16) / 16**16
        split = Split.TRAIN if position < 0.7 else Split.VAL if position < 0.85 else Split.TEST
        assert hashed_split(patient, SHARES, 5) is split


@pytest.mark.parametrize("closed", [{Split.TEST}, {Split.VAL}, {Split.TRAIN}, {Split.VAL, Split.TEST}])
@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.5, 0.2, 0.3), (0.9, 0.1, 0.0)])
def test_who_falls_into_a_closed_split_is_placed_among_the_others_by_the_next_eight_bytes(closed, shares):
    """As above; the other shares are scaled so that they sum to 1."""
    given = dict(zip(ORDER, shares, strict=True))
    for patient in people("a", 300):
        digest = hashlib.sha256(f"2:{patient}".encode()).hexdigest()
        first, second = (int(digest[start : start + 16], 16) / 16**16 for start in (0, 16))
        expected = next(split for split, end in zip(ORDER, np.cumsum(shares), strict=True) if first < end)
        if expected in closed:
            rest = [split for split in ORDER if split not in closed and given[split]]
            ends = np.cumsum([given[split] for split in rest]) / sum(given[split] for split in rest)
            expected = next(split for split, end in zip(rest, ends, strict=True) if second < end)
        assert hashed_split(patient, given, 2, closed) is expected


def test_all_shares_closed_leaves_training_even_without_a_share():
    shares = {Split.TRAIN: 0.0, Split.VAL: 0.5, Split.TEST: 0.5}
    assert hashed_split("a:1", shares, 0, {Split.VAL, Split.TEST}) is Split.TRAIN
    held = table("a", people("a", 4), [Split.VAL, Split.TEST, None, None])
    assert seed_that_fills([held], shares) == 0, "nobody of the dataset is placed by hash"


def test_the_first_patients_of_a_group_fill_its_splits_in_order():
    for count in (1, 2, 3):
        splits = {}
        deal(people("a", count), SHARES, 0, splits)
        assert set(splits.values()) == set(ORDER[:count])


def test_dealing_passes_over_splits_that_are_closed_to_a_patient_or_have_no_share():
    everyone = people("a", 40)
    closed = {patient: frozenset({Split.TEST}) for patient in everyone[:20]}
    splits = {}
    deal(everyone, SHARES, 0, splits, closed)
    assert Split.TEST not in {splits[patient] for patient in everyone[:20]}
    assert Split.TEST in {splits[patient] for patient in everyone[20:]}
    splits = {}
    deal(everyone, {Split.TRAIN: 0.8, Split.VAL: 0.0, Split.TEST: 0.2}, 0, splits, closed)
    assert set(splits.values()) == {Split.TRAIN, Split.TEST}
    assert Split.TEST not in {splits[patient] for patient in everyone[:20]}


def test_a_share_of_nothing_gets_nobody():
    shares = {Split.TRAIN: 0.8, Split.VAL: 0.2, Split.TEST: 0.0}
    assert set(assign_splits([table("a", people("a", 300))], shares, 0).values()) == {Split.TRAIN, Split.VAL}


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


def test_the_seed_changes_who():
    first, second = (assign_splits([table("a", people("a", 60))], SHARES, seed) for seed in (0, 1))
    assert first != second


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


NAMES = st.builds(
    lambda number, first: {f"p:{(first + 7919 * index) % 10**6}" for index in range(number)},
    st.integers(1, 1000),
    st.integers(0, 10**6),
)
"""1 to 1,000 patients."""


@settings(max_examples=60, deadline=None)
@given(
    first=NAMES,
    second=NAMES,
    dropped=st.integers(0, 999),
    fractions=st.sampled_from([SHARES, {Split.TRAIN: 0.5, Split.VAL: 0.5}, {Split.TRAIN: 1.0}]),
    seed=st.integers(0, 2**32),
)
def test_nobody_moves_when_patients_or_datasets_join_or_leave(first, second, dropped, fractions, seed):
    """1 to 1,000 patients: one more, some fewer, a dataset that shares some of them or none."""
    before = assign_splits([table("a", sorted(first))], fractions, seed)
    one_more = assign_splits([table("a", [*sorted(first), "p:new"])], fractions, seed)
    fewer = assign_splits([table("a", sorted(first)[: dropped + 1])], fractions, seed)
    joined = assign_splits([table("b", sorted(second)), table("a", sorted(first))], fractions, seed)
    alone = assign_splits([table("b", sorted(second))], fractions, seed)
    for other in (one_more, fewer, joined):
        assert all(other[patient] is before[patient] for patient in other.keys() & before.keys())
    assert all(joined[patient] is alone[patient] for patient in second)


@settings(max_examples=60, deadline=None)
@given(first=NAMES, second=NAMES, official=st.sets(st.integers(0, 10**6).map("p:{}".format)), seed=st.integers(0, 99))
def test_with_official_splits_nobody_moves_either_when_others_join_or_leave(first, second, official, seed):
    """The official list of one dataset is part of what is known of its patients; who else is there is not."""
    test = official | set(sorted(first)[::7])
    splits = [Split.TEST if patient in test else None for patient in sorted(first)]
    before = assign_splits([table("a", sorted(first), splits)], SHARES, seed)
    joined = assign_splits([table("b", sorted(second)), table("a", sorted(first), splits)], SHARES, seed)
    more = assign_splits([table("a", [*sorted(first), "p:new"], [*splits, None])], SHARES, seed)
    assert all(joined[patient] is before[patient] is more[patient] for patient in first)


@settings(max_examples=60, deadline=None)
@given(patients=NAMES, seed=st.integers(0, 99))
def test_a_test_list_that_joins_moves_those_on_it_and_those_whom_it_keeps_out(patients, seed):
    ordered = sorted(patients)
    before = assign_splits([table("a", ordered)], SHARES, seed)
    listed = set(ordered[::5])
    splits = [Split.TEST if patient in listed else None for patient in ordered]
    after = assign_splits([table("a", ordered), table("b", ordered, splits)], SHARES, seed)
    for patient in ordered:
        if patient in listed:
            assert after[patient] is Split.TEST
        elif before[patient] is Split.TEST:
            assert after[patient] is not Split.TEST
        else:
            assert after[patient] is before[patient]


def test_a_list_of_ones_own_counts_as_official():
    sides = assign_splits(
        [table("a", people("a", 100)), table("b", people("b", 100))], SHARES, 0, {"a:3": Split.TEST, "a:4": Split.VAL}
    )
    assert [p for p in people("a", 100) if sides[p] is not Split.TRAIN] == ["a:3", "a:4"]
    plain = assign_splits([table("b", people("b", 100))], SHARES, 0)
    assert all(sides[patient] is split for patient, split in plain.items())


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), common=st.integers(0, 10), seed=st.integers(0, 5))
def test_dealing_fills_every_split_of_every_dataset_with_enough_patients_of_its_own(sizes, common, seed):
    shared = people("shared", common)
    drawn = {f"d{i}": people(f"d{i}", n) + shared for i, n in enumerate(sizes)}
    sides = deal_splits([table(name, patients) for name, patients in drawn.items()], SHARES, seed)
    for (name, patients), n in zip(drawn.items(), sizes, strict=True):
        counts = Counter(sides[p] for p in patients)
        if n >= len(SHARES):
            assert set(counts) == set(SHARES), name
        if not common and n >= 1 / min(SHARES.values()):
            assert all(abs(counts[side] - share * n) <= 1 for side, share in SHARES.items()), name


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(20, 120), seed=st.integers(0, 5))
def test_dealing_gives_every_class_its_shares_and_keeps_who_is_settled(data, n, seed):
    one = table("a", people("a", n))
    drawn = data.draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n))
    one.labels = np.array(drawn, np.float32)
    one = replace(one, classes=("rare", "common"))
    one.labels[:, 0] *= np.arange(n) % 3 == 0
    first = deal_splits([one], SHARES, seed)
    rare = [p for p, has in zip(one.patients, one.labels[:, 0], strict=True) if has]
    if len(rare) >= 7 and len(rare) < one.labels[:, 1].sum():
        counts = Counter(first[p] for p in rare)
        assert all(abs(counts[side] - share * len(rare)) <= 1 for side, share in SHARES.items())
    more = replace(table("a", people("a", n + 10)), labels=np.vstack([one.labels, np.zeros((10, 2), np.float32)]))
    again = deal_splits([replace(more, classes=("rare", "common"))], SHARES, seed, first)
    assert all(again[patient] is split for patient, split in first.items()) and len(again) == n + 10


def test_a_seed_that_fills_every_split_is_found():
    groups = {"a": people("a", 6), "b": people("b", 5)}
    tables = [table(name, group) for name, group in groups.items()]
    seed = seed_that_fills(tables, SHARES)
    for group in groups.values():
        assert {hashed_split(patient, SHARES, seed) for patient in group} == set(SHARES)
    assert seed_that_fills([table("a", ["a:1"])], SHARES) is None
    fixed = table("c", people("c", 5), [Split.TEST, None, None, None, None])
    assigned = assign_splits([fixed], SHARES, seed_that_fills([fixed], SHARES))
    assert set(assigned.values()) == set(SHARES)
