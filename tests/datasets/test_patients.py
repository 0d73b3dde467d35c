"""Patients as cards name them: published tables in CSV and JSON, several of them, translations, doubles."""

from __future__ import annotations

import csv
import json
import random
import shutil

import numpy as np
import pytest

from foundationx.core.config.load import parse_config
from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._patients import Patients
from foundationx.datasets.splits import assign_splits
from tests.helpers.reader_cards import Folder, fault, make_card

CATALOG = Catalog(default_folders()[:1])
UUID = "0004cfab-14fd-4e49-80ba-63a80b6bd{:03d}"
SHARES = {Split.TRAIN: 0.7, Split.VAL: 0.15, Split.TEST: 0.15}
RSNA_JSON = "pneumonia-challenge-dataset-mappings_2018.json"


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def listed(file="who.csv", **further):
    return {"file": file, "image_column": "image", "value_column": "who"} | further


def patients_of(folder, images, patient):
    folder.files(*(f"a/{image}" for image in images))
    return folder.read(make_card("class_folders", ["a"], patient=patient)).patients


def rsna(tmp_path, numbers, table, name=RSNA_JSON):
    """The RSNA download with some images, and a table of origins."""
    root = tmp_path / "rsna_pneumonia"
    (root / "stage_2_train_images").mkdir(parents=True)
    rows = [f"{UUID.format(number)},Normal" for number in numbers]
    (root / "stage_2_detailed_class_info.csv").write_text("patientId,class\n" + "\n".join(rows))
    for number in numbers:
        (root / f"stage_2_train_images/{UUID.format(number)}.dcm").touch()
    if table is not None:
        (root / name).write_text(table)


def covidx(tmp_path, patients):
    root = tmp_path / "covidx"
    for split, number in (("train", 0), ("test", len(patients) - 1)):
        (root / split).mkdir(parents=True)
        (root / "labels").mkdir(exist_ok=True)
        chosen = patients[number:] if split == "test" else patients[:-1]
        lines = [f"{patient} {patient}.png normal rsna" for patient in chosen]
        (root / f"labels/{split}_COVIDx9A.txt").write_text("\n".join(lines))
        for patient in chosen:
            (root / f"{split}/{patient}.png").touch()


def names(tmp_path, card, task=Task.CLASSIFICATION):
    return read_annotations(CATALOG.card(card), task, tmp_path).patients


def test_rsnas_own_table_gives_the_patients_of_nih_also_to_covidx(tmp_path):
    """Records as RSNA publishes them: further keys, one record per image of the challenge."""
    records = [
        {"img_id": "00019124_092.png", "subset_img_id": UUID.format(1), "orig_labels": [], "SOPInstanceUID": "1.2"},
        {"img_id": "00000007_000.png", "subset_img_id": UUID.format(2), "orig_labels": ["Mass"]},
        {"img_id": "00000008_000.png", "subset_img_id": UUID.format(9), "orig_labels": ["Mass"]},
    ]
    rsna(tmp_path, (1, 2, 3), json.dumps(records))
    covidx(tmp_path, [UUID.format(1), UUID.format(3), "12", "MIDRC-RICORD-1C-9", UUID.format(2)])
    assert names(tmp_path, "rsna_pneumonia") == ["nih:19124", "nih:7", f"rsna:{UUID.format(3)}"]
    others = [f"rsna:{UUID.format(3)}", "covid:12", "covidx:MIDRC-RICORD-1C-9"]
    assert names(tmp_path, "covidx") == ["nih:19124", *others, "nih:7"]


def test_a_table_of_two_columns_serves_as_well(tmp_path):
    rsna(tmp_path, (1, 2), f"patientId,nih\n{UUID.format(1)},00019124_092.png\n", "rsna_to_nih.csv")
    assert names(tmp_path, "rsna_pneumonia") == ["nih:19124", f"rsna:{UUID.format(2)}"]


def test_without_rsnas_table_the_message_says_where_it_is_and_covidx_is_read(tmp_path):
    rsna(tmp_path, (1, 2), None)
    covidx(tmp_path, [UUID.format(1), "12"])
    with pytest.raises(DataError, match=r"download it from https://s3\.amazonaws\.com/east1\.public\.rsna\.org"):
        names(tmp_path, "rsna_pneumonia")
    assert names(tmp_path, "covidx") == [f"rsna:{UUID.format(1)}", "covid:12"]


def test_the_first_table_that_lists_an_image_names_its_patient(folder):
    folder.write("one.csv", "image,who\n1,x1\n")
    folder.write("two.csv", "image,who\n1,y1\n2,y2\n")
    tables = [listed("one.csv", image_value="{image_stem}"), listed("two.csv", image_value="{image_stem}")]
    assert patients_of(folder, ["1.png", "2.png"], {"tables": tables}) == ["tiny:x1", "tiny:y2"]
    folder.files("a/3.png")
    assert (
        "one.csv with image '3', two.csv with image '3'"
        in fault(folder, make_card("class_folders", ["a"], patient={"tables": tables})).found
    )


def test_a_table_translates_what_another_gives_and_may_have_its_own_namespace(folder):
    folder.write("one.csv", "image,who\n1.png,old1\n2.png,old2\n3.png,old3\n")
    folder.write("two.json", [{"image": "old1.png", "who": 71}, {"image": "old9.png", "who": None}])
    folder.write("three.csv", "image,who\nold2,b-5\n")
    translations = [
        listed("two.json", image_value="{value}.png", namespace="other"),
        listed("three.csv", image_value="{value}"),
        listed("gone.csv", image_value="{value}", required=False),
    ]
    patient = {"tables": [listed("one.csv"), *translations], "namespaces": {"b": "b-(.+)"}}
    assert patients_of(folder, ["1.png", "2.png", "3.png"], patient) == ["other:71", "b:5", "tiny:old3"]


def test_values_that_are_one_patient(folder):
    patient = {"pattern": "_([0-9]+)_", "same": [["0113", "0117"], ["0162", "0166", "0170"]]}
    found = patients_of(folder, [f"M_{number}_0.png" for number in ("0113", "0117", "0166", "0170", "0171")], patient)
    assert found == ["tiny:0113", "tiny:0113", "tiny:0162", "tiny:0162", "tiny:0171"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": 1}, "is not a list of records"),
        ([1], "is not a list of records"),
        ([{"picture": "1.png", "who": "p"}], "there is no column 'image'"),
        ([{"image": "1.png", "who": "p"}, {"image": "1.png", "who": "q"}], "but an earlier row gives p"),
    ],
)
def test_json_that_is_no_table_of_patients(folder, content, words):
    folder.files("a/1.png")
    folder.write("who.json", content)
    assert words in fault(folder, make_card("class_folders", ["a"], patient={"tables": [listed("who.json")]})).found


# RSNA Pneumonia and ChestX-ray14 in one run: no test image of the one is trained on by the other.
def shared_images(splits, names, origin):
    """Share of RSNA's test images that NIH trains on, NIH's test images that RSNA trains on, and patients of RSNA."""
    test = [image for image in origin if splits[names[image]] is Split.TEST]
    trained = [image for image in test if splits[nih_patient(origin[image])] is Split.TRAIN]
    other = sum(
        splits[nih_patient(film)] is Split.TEST and splits[names[image]] is Split.TRAIN
        for image, film in origin.items()
    )
    return len(trained) / len(test), other


def nih_patient(film):
    return f"nih:{int(film.partition('_')[0])}"


def annotated(dataset, images, patients, splits):
    labels = np.zeros((len(images), 1), np.float32)
    return Annotations(TaskKey(dataset, Task.CLASSIFICATION), ("a",), images, patients, images, labels, splits)


@pytest.mark.parametrize("with_map", [True, False])
def test_with_the_real_map_rsna_and_nih_share_no_test_image(shared_data, tmp_path, with_map):
    """The map of 26,684 images as torchxrayvision matched it; without it more than half of the test images leak."""
    with open(shared_data / "annotations/rsna/rsna_to_nih.csv", newline="") as stream:
        origin = {row["patientId"]: row["nih"] for row in csv.DictReader(stream)}
    assert len(origin) > 26_000
    (tmp_path / "rsna").mkdir()
    shutil.copy(shared_data / "annotations/rsna/rsna_to_nih.csv", tmp_path / "rsna")
    card = CATALOG.card("rsna_pneumonia")
    if not with_map:
        card = card.model_copy(update={"patient": card.patient.model_copy(update={"tables": ()})})
    patients = Patients(card, DatasetFolder(tmp_path / "rsna", tmp_path))
    names = {image: patients.name(f"stage_2_train_images/{image}.dcm", {}, "row") for image in origin}
    films = sorted(origin.values())
    people = sorted({nih_patient(film) for film in films})
    listed = set(random.Random(0).sample(people, len(people) * 28 // 100))  # NIH's own list has 28 % of its patients
    official = [Split.TEST if nih_patient(film) in listed else None for film in films]
    tables = [
        annotated("rsna_pneumonia", list(origin), [names[image] for image in origin], [None] * len(origin)),
        annotated("nih_chestxray14", films, [nih_patient(film) for film in films], official),
    ]
    splits = assign_splits(tables, SHARES, 0)
    leaked, trained = shared_images(splits, names, origin)
    if with_map:
        assert (leaked, trained) == (0, 0)
        test = {splits[name] for name in names.values()}
        assert test == set(Split)
    else:
        assert leaked > 0.4 and trained > 4000


def test_with_a_generated_map_no_head_trains_on_the_others_test_image(tmp_path):
    """Files as published, through the cards; 40 images of 20 patients, six of them on NIH's list."""
    films = [f"{patient:08d}_{number:03d}.png" for patient in range(1, 21) for number in range(2)]
    records = [{"img_id": film, "subset_img_id": UUID.format(index)} for index, film in enumerate(films)]
    rsna(tmp_path, range(len(films)), json.dumps(records))
    nih = tmp_path / "nih_chestxray14"
    (nih / "images").mkdir(parents=True)
    rows = [f"{film},Mass,0,{int(film[:8])},50,M,PA,1,1,1,1," for film in films]
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,w,h,x,y,"
    (nih / "Data_Entry_2017_v2020.csv").write_text("\n".join([header, *rows]))
    (nih / "test_list.txt").write_text("\n".join(film for film in films if int(film[:8]) % 4 == 0))
    for film in films:
        (nih / "images" / film).touch()
    config = parse_config(
        {
            "name": "x",
            "model": {"backbone": {"type": "none"}},
            "datasets": [{"card": "rsna_pneumonia", "tasks": ["classification"]}, {"card": "nih_chestxray14"}],
            "schedule": {"cycles": 1},
        },
        "test",
    )
    data_module = open_datasets(config, tmp_path, CATALOG)
    of_split = {
        (key.dataset, split): {table.images[index].rpartition("/")[2] for index in data_module.indices[key][split]}
        for key, table in data_module.annotations.items()
        for split in Split
    }
    film_of = {f"{record['subset_img_id']}.dcm": record["img_id"] for record in records}
    for split in (Split.VAL, Split.TEST):
        rsna_held = {film_of[image] for image in of_split["rsna_pneumonia", split]}
        assert not rsna_held & of_split["nih_chestxray14", Split.TRAIN]
        assert not of_split["nih_chestxray14", split] & {film_of[i] for i in of_split["rsna_pneumonia", Split.TRAIN]}
    assert of_split["nih_chestxray14", Split.TEST] == {film for film in films if int(film[:8]) % 4 == 0}
