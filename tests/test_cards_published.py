"""The cards of public datasets: whole, honest about what nobody has checked, and read as they are published."""

from __future__ import annotations

import pytest
from reader_cards import Folder, fault, make_card

from foundationx.types import Split


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_only_rows_that_the_card_keeps_count(folder):
    folder.files("a.png", "b.png", "d.png")
    folder.write(
        "labels.csv", "file,found,modality,view\na.png,A,X-ray,PA\nb.png,A,X-ray,L\nc.nii,A,CT,PA\nd.png,A,,PA\n"
    )
    options = {"image_column": "file", "findings_column": "found"}
    keep = {"modality": ["X-ray", ""], "view": ["PA"]}
    card = make_card("findings_csv", ["A"], file="labels.csv", options=options, keep=keep)
    found = folder.read(card)
    assert (found.images, found.rows) == (["a.png", "d.png"], ["labels.csv row 2", "labels.csv row 5"])
    card = make_card("findings_csv", ["A"], file="labels.csv", options=options, keep={"views": ["PA"]})
    assert "no column 'views'" in fault(folder, card).found


def test_a_split_list_may_name_images_by_the_end_of_their_path(folder):
    folder.files("imgs/a/1.png", "imgs/b/1.png", "imgs/b/2.png", "imgs/b/3.png")
    folder.write("train.txt", "a/1.png\n2.png\n")
    folder.write("val.txt", "imgs/b/1.png\n")
    card = make_card(
        "class_folders", ["a", "b"], images="imgs", splits={"lists": {"train": "train.txt", "val": "val.txt"}}
    )
    assert folder.read(card).splits == [Split.TRAIN, Split.VAL, Split.TRAIN, None]


def test_an_image_that_the_patient_table_does_not_name_is_its_own_patient_where_the_card_says_so(folder):
    folder.files("p/1.png", "p/2.png")
    folder.write("origin.csv", "image,old\n1,000123_4\n")
    patient = {
        "table": "origin.csv",
        "image_column": "image",
        "value_column": "old",
        "image_value": "{image_stem}",
        "namespaces": {"nih": "0*(\\d+)_\\d+"},
    }
    assert "gives no patient for p/2.png" in fault(folder, make_card("class_folders", ["p"], patient=patient)).found
    found = folder.read(make_card("class_folders", ["p"], patient=patient | {"unlisted": "own"}))
    assert found.patients == ["nih:123", "tiny:2.png"]


def test_images_in_one_folder_or_in_many_are_found_by_one_pattern(folder):
    folder.write("labels.csv", "file,found\na.png,A\nb.png,A\n")
    options = {"image_column": "file", "findings_column": "found"}
    card = make_card("findings_csv", ["A"], file="labels.csv", images="images*/**", options=options)
    folder.files("images_1/images/a.png", "images_2/images/b.png")
    assert folder.read(card).images == ["images_1/images/a.png", "images_2/images/b.png"]
