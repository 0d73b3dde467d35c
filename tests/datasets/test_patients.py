"""Patients as cards name them: published tables in CSV and JSON, several of them, translations, doubles."""

from __future__ import annotations

import json

import pytest

from foundationx.core.errors import DataError
from foundationx.core.types import Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog, default_folders
from tests.helpers.reader_cards import Folder, fault, make_card

CATALOG = Catalog(default_folders()[:1])
UUID = "0004cfab-14fd-4e49-80ba-63a80b6bdd{:02d}"
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
