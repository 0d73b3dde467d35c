"""What may not be trained on is not: official test sides over all datasets, and the exclusion list of an audit."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.config.load import load_config, parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.exclusion import COLUMNS, excluded_images, read_exclusions, without_allowed_tests
from foundationx.datasets.splits import assign_splits

TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
CARD = """
name: {name}
title: two clinics share patients
licence: {{name: none, redistribution: yes, commercial: yes}}
access: generated
root: {name}
patient: {{column: patient, namespace: clinic}}
splits: {{column: side, values: {{train: [train], test: [test]}}}}
tasks:
  classification:
    reader: findings_csv
    file: table.csv
    images: images
    options: {{image_column: image, findings_column: finding, separator: "|", negative: [none]}}
    classes: [{{name: Nodule}}]
"""
NORTH = [("n0.png", "p0", "train"), ("n1.png", "p1", "test"), ("n2.png", "p2", "test"), ("n3.png", "p3", "train")]
SOUTH = [("s0.png", "p0", "train"), ("s1.png", "p1", "train"), ("s4.png", "p4", "test"), ("s5.png", "p5", "train")]


@pytest.fixture
def clinics(tmp_path):
    """Two datasets of shared patients: p1 is on the test side of the one and on the training side of the other."""
    for name, rows in (("north", NORTH), ("south", SOUTH)):
        folder = tmp_path / name / "images"
        folder.mkdir(parents=True)
        for image, _, _ in rows:
            (folder / image).touch()
        table = "image,patient,side,finding\n" + "".join(f"{','.join(row)},Nodule\n" for row in rows)
        (tmp_path / name / "table.csv").write_text(table)
        (tmp_path / f"{name}.yaml").write_text(CARD.format(name=name))
    return tmp_path


def open_clinics(folder, entries=(), cards=("north", "south"), **options):
    values = load_config(TINY).model_dump() | {"datasets": [{"card": name} for name in cards]} | options
    if entries:
        with open(folder / "exclude.csv", "w", newline="") as stream:
            csv.writer(stream).writerows([COLUMNS, *entries])
        values["exclude"] = folder / "exclude.csv"
    return open_datasets(RunConfig.model_validate(values), folder, Catalog([folder]))


def images_of(data_module, dataset, split):
    key = TaskKey(dataset, Task.CLASSIFICATION)
    return {Path(data_module.annotations[key].images[index]).name for index in data_module.indices[key][split]}


def test_a_test_patient_of_any_dataset_trains_in_none(clinics):
    data_module = open_clinics(clinics)
    assert images_of(data_module, "south", Split.TRAIN) == {"s0.png", "s5.png"}
    assert images_of(data_module, "south", Split.TEST) == {"s1.png", "s4.png"}
    assert images_of(data_module, "north", Split.TEST) == {"n1.png", "n2.png"}


def test_an_allowed_test_split_binds_others_no_more_but_stays_its_own_test(clinics):
    data_module = open_clinics(clinics, allow_test=("north",))
    assert images_of(data_module, "south", Split.TRAIN) == {"s0.png", "s1.png", "s5.png"}
    assert images_of(data_module, "south", Split.TEST) == {"s4.png"}
    assert images_of(data_module, "north", Split.TRAIN) == {"n0.png", "n3.png"}
    assert images_of(data_module, "north", Split.TEST) == {"n1.png", "n2.png"}


def test_allowing_another_dataset_changes_nothing(clinics):
    data_module = open_clinics(clinics, allow_test=("south",))
    assert images_of(data_module, "south", Split.TRAIN) == {"s0.png", "s5.png"}


def test_listed_images_do_not_train_and_are_counted(clinics):
    entry = ("south", "images/s5.png", "perceptual 0.980", "north", "images/n2.png", "test")
    data_module = open_clinics(clinics, [entry])
    assert images_of(data_module, "south", Split.TRAIN) == {"s0.png"}
    assert images_of(data_module, "south", Split.TEST) == {"s1.png", "s4.png"}
    counted = {(row["dataset"], row["split"]): (row["images"], row["excluded"]) for row in data_module.summary()}
    assert counted["south", "train"] == (1, 1)
    assert counted["south", "test"] == (2, 0) and counted["north", "train"] == (2, 0)


def test_a_limit_counts_what_is_left(clinics):
    data_module = open_clinics(clinics, [("north", "images/n0.png", "", "", "", "")])
    assert images_of(data_module, "north", Split.TRAIN) == {"n3.png"}
    limited = [{"card": "north", "limit": 1}, {"card": "south"}]
    values = data_module.config.model_dump() | {"datasets": limited}
    again = open_datasets(RunConfig.model_validate(values), clinics, Catalog([clinics]))
    assert images_of(again, "north", Split.TRAIN) == {"n3.png"}


def test_an_entry_because_of_an_allowed_test_split_is_ignored(clinics):
    entries = [
        ("south", "images/s1.png", "patient", "north", "images/n1.png", "test"),
        ("south", "images/s5.png", "exact", "north", "images/n2.png", "test"),
        ("south", "images/s5.png", "exact", "south", "images/s4.png", "test"),
    ]
    data_module = open_clinics(clinics, entries, allow_test=("north",))
    assert images_of(data_module, "south", Split.TRAIN) == {"s0.png", "s1.png"}


def test_a_list_may_name_cards_that_are_not_in_the_run(clinics):
    entries = [("south", "images/any.png", "exact", "north", "images/n2.png", "test")]
    data_module = open_clinics(clinics, entries, cards=("north",))
    assert images_of(data_module, "north", Split.TRAIN) == {"n0.png", "n3.png"}


def test_a_list_of_an_audit_may_name_images_that_this_run_does_not_read(clinics):
    entries = [("south", "images/s5.png", "exact", "north", "images/n1.png", "test"), ("south", "gone.png", *[""] * 4)]
    with pytest.raises(ConfigError, match=r"south has no image 'gone\.png'"):
        open_clinics(clinics, entries)
    (clinics / "audit.json").write_text('{"datasets": ["north", "south"]}')
    assert open_clinics(clinics, entries).excluded == {"north": set(), "south": {"images/s5.png"}}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("soth", "images/s5.png", "", "", "", ""), ["row 2", "unknown dataset 'soth'", "did you mean 'south'?"]),
        (("south", "s5.png", "", "", "", ""), ["row 2", "south has no image 's5.png'", "foundationx data audit"]),
        (("south", "images/s5.png", "exact", "nord", "images/n1.png", "test"), ["row 2", "unknown dataset 'nord'"]),
        (("south", "images/s5.png", "exact", "north", "images/n9.png", "test"), ["north has no image 'images/n9.png'"]),
        (("south", "images/s5.png", "exact", "north", "images/n0.png", "val"), ["row 2", "but this run trains on it"]),
        (("", "images/s5.png", "", "", "", ""), ["row 2", "has no dataset or no image"]),
    ],
)
def test_an_entry_that_fits_nothing_is_an_error(clinics, entry, words):
    with pytest.raises(ConfigError) as caught:
        open_clinics(clinics, [entry])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be opened"),
        (b"", "has no column dataset, image"),
        (b"dataset,file\na,b\n", "has no column image"),
        (b"dataset,image\n\xff\xfe,b\n", "is not a table"),
    ],
)
def test_a_list_that_cannot_be_read_is_an_error(tmp_path, content, words):
    path = tmp_path / "exclude.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_exclusions(path)


def test_a_list_of_two_columns_is_enough(tmp_path):
    (tmp_path / "own.csv").write_text("\ufeffimage,dataset\nb.png,a\n", encoding="utf-8")
    (entry,) = read_exclusions(tmp_path / "own.csv")
    assert (entry.dataset, entry.image, entry.reason, entry.of_dataset) == ("a", "b.png", "", "")


def test_allow_test_names_a_dataset_of_the_run():
    with pytest.raises(ConfigError, match="allow_test names elsewhere"):
        parse_config(load_config(TINY).model_dump() | {"allow_test": ("elsewhere",)}, "config")


def table(dataset, patients, splits):
    names = [f"{patient}.png" for patient in patients]
    labels = np.ones((len(names), 1), np.float32)
    return Annotations(
        TaskKey(dataset, Task.CLASSIFICATION), ("a",), names, list(patients), names, labels, list(splits)
    )


def test_only_shared_patients_lose_their_allowed_test_split():
    tables = [table("x", ["p", "q"], [Split.TEST, Split.TEST]), table("y", ["p", "r"], [Split.TEST, None])]
    x, y = without_allowed_tests(tables, ["x"])
    assert x.splits == [None, Split.TEST] and y.splits == [Split.TEST, None]
    assert tables[0].splits == [Split.TEST, Split.TEST]


SIDE = st.sampled_from([None, Split.TRAIN, Split.VAL, Split.TEST])


@settings(max_examples=60, deadline=None)
@given(
    tables=st.lists(st.dictionaries(st.sampled_from("pqrstu"), SIDE, min_size=1), min_size=1, max_size=4),
    allowed=st.sets(st.integers(0, 3)),
    seed=st.integers(0, 5),
)
def test_no_patient_of_a_closed_test_split_trains(tables, allowed, seed):
    tables = [table(f"d{number}", list(sides), sides.values()) for number, sides in enumerate(tables)]
    names = [f"d{number}" for number in allowed]
    shares = {Split.TRAIN: 0.8, Split.VAL: 0.1, Split.TEST: 0.1}
    patients = assign_splits(without_allowed_tests(tables, names), shares, seed)
    for each in tables:
        if each.key.dataset not in names:
            official = dict(zip(each.patients, each.splits, strict=True))
            assert all(patients[name] is Split.TEST for name, side in official.items() if side is Split.TEST)


def test_images_are_collected_by_dataset():
    tables = [table("x", ["p", "q"], [None, None]), table("y", ["p"], [None])]
    assert excluded_images([], tables, {}, (), ()) == {"x": set(), "y": set()}
