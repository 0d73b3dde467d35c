"""One file under two spellings is one image: of one patient, in every task and reader, and not twice in a table."""

from __future__ import annotations

import os
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import DataError
from foundationx.core.types import Split, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._paths import are_plain_names, checked_name
from foundationx.datasets.readers._spelling import spelling
from foundationx.datasets.splits import assign_splits
from tests.helpers.reader_cards import Folder, card_values, fault, make_card

NFC, NFD = (unicodedata.normalize(form, "r\u00f6ntgen.png") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def labels_card(images="images"):
    return make_card("label_columns_csv", ["TB"], file="l.csv", images=images, options={"image_column": "image"})


WAYS = [
    ("./a.png", "a.png"),
    (".//a.png", "a.png"),
    ("s/a.png", "s/a.png"),
    ("s//a.png", "s/a.png"),
    ("s/./a.png", "s/a.png"),
    ("./s/././/a.png", "s/a.png"),
    ("A.PNG", "a.png"),
    ("a.png", "A.PNG"),
    ("S/A.Png", "s/a.png"),
    ("a%20b.png", "a b.png"),
    ("a b.png", "a%20b.png"),
    ("r%C3%B6ntgen.png", NFC),
    (NFD, NFC),
    (NFC, NFD),
    (NFD.upper(), NFC),
    ("100%.png", "100%.png"),
]


@pytest.mark.parametrize(("written", "on_disk"), WAYS)
@pytest.mark.parametrize("images", ["images", "image*", "**"])
def test_a_name_finds_its_file(folder, written, on_disk, images):
    folder.files(f"images/{on_disk}", "other/z.png")
    folder.write("l.csv", f"image,TB\n{written},1\n")
    if images != "**" or "/" not in on_disk:
        result = folder.read(labels_card(images))
        assert result.images == [f"images/{on_disk}"]
        assert result.patients == [f"tiny:images/{on_disk}"]


@pytest.mark.parametrize(("written", "on_disk"), [way for way in WAYS if way[0] != way[1]])
def test_a_table_with_both_spellings_repeats_the_image(folder, written, on_disk):
    """They could bear contrary labels."""
    folder.files(f"images/{on_disk}")
    folder.write("l.csv", f"image,TB\n{on_disk},1\n{written},0\n")
    error = fault(folder, labels_card())
    assert error.where == "l.csv row 3" and f"images/{on_disk} is repeated" in error.found
    assert folder.read(labels_card(), skip=True).labels.tolist() == [[1]]


def test_rows_of_one_image_belong_together_however_its_path_is_written(folder):
    folder.files("images/s/a.png", "images/b.png")
    rows = ["s/a.png,1,1,5,5", "b.png,2,2,6,6", "./s//a.png,3,3,8,8"]
    folder.write("b.csv", "\n".join(["image,x1,y1,x2,y2", *rows]))
    options = {"image_column": "image", "box_columns": ["x1", "y1", "x2", "y2"], "box_layout": "xyxy"}
    card = make_card("bbox_csv", ["Nodule"], "detection", file="b.csv", images="images", options=options)
    found = folder.read(card)
    assert found.images == ["images/s/a.png", "images/b.png"]
    assert [annotation.boxes.tolist() for annotation in found.targets] == [[[1, 1, 5, 5], [3, 3, 8, 8]], [[2, 2, 6, 6]]]


@pytest.mark.parametrize(("written", "on_disk"), [way for way in WAYS if "/" not in way[1]])
def test_two_tasks_that_spell_an_image_differently_deal_it_to_one_side(folder, written, on_disk):
    """Else the test images of one task would be trained on by the other."""
    stems = [f"{number:03}" for number in range(60)]
    folder.files(*(f"{place}/{stem}{on_disk}" for stem in stems for place in ("images", "masks")))
    head, slash, base = written.rpartition("/")
    rows = "".join(f"{head}{slash}{stem}{base},1\n" for stem in stems)
    folder.write("l.csv", f"image,TB\n{rows}")
    masks = {"reader": "mask_folder", "classes": ["Lung"], "images": "images"}
    masks["options"] = {"folders": {"Lung": "masks"}, "mask_name": "{image_name}"}
    values = card_values("label_columns_csv", ["TB"], file="l.csv", images="images", options={"image_column": "image"})
    card = Card.model_validate(values | {"tasks": values["tasks"] | {"segmentation": masks}})
    tables = [read_annotations(card, Task(task), folder.data_root) for task in ("classification", "segmentation")]
    assert sorted(tables[0].images) == sorted(tables[1].images)
    assert set(tables[0].patients) == set(tables[1].patients)
    assert len(set(tables[0].patients)) == 60
    sides = assign_splits(tables, {Split.TRAIN: 0.7, Split.VAL: 0.15, Split.TEST: 0.15}, 0)
    assert len(sides) == 60


def test_a_spelling_of_two_files_is_none_of_them(folder):
    folder.files("images/a.png", "images/A.png")
    folder.write("l.csv", "image,TB\na.png,1\nA.png,0\n")
    assert folder.read(labels_card()).labels.tolist() == [[1], [0]]  # each exactly as it is written
    folder.write("l.csv", "image,TB\na.PNG,1\n")
    with pytest.raises(DataError, match="does not exist"):
        folder.read(labels_card())


def test_links_lead_to_one_image(folder):
    folder.files("images/a.png", "images/b.png")
    os.symlink("a.png", folder.path / "images" / "c.png")
    os.symlink("images", folder.path / "again")
    for image in ("images/c.png", "again/a.png", "again/c.png"):
        folder.write("l.csv", f"image,TB\n{image},1\n")
        result = folder.read(labels_card(""))
        assert (result.images, result.patients) == (["images/a.png"], ["tiny:images/a.png"])
        folder.write("l.csv", f"image,TB\nimages/b.png,0\nimages/a.png,1\n{image},0\n")
        assert "images/a.png is repeated, first in l.csv row 3" in fault(folder, labels_card("")).found


def test_a_link_keeps_its_name_for_patterns_and_lists(folder):
    folder.files("raw/x1.png")
    (folder.path / "images").mkdir()
    os.symlink("../raw/x1.png", folder.path / "images" / "p7_1.png")
    folder.write("l.csv", "image,TB\np7_1.png,1\n")
    folder.write("test.txt", "p7_1.png\n")
    key = {"pattern": r"p(\d+)_", "namespace": "tiny"}
    card = make_card("label_columns_csv", ["TB"], file="l.csv", images="images", options={"image_column": "image"},
        patient=key, splits={"lists": {"test": "test.txt"}})  # fmt: skip
    result = folder.read(card)
    assert (result.images, result.patients, result.splits) == (["raw/x1.png"], ["tiny:7"], [Split.TEST])


def test_links_to_another_dataset_stay_what_they_are(folder):
    other = folder.data_root / "other"
    other.mkdir()
    (other / "a.png").touch()
    (folder.path / "images").mkdir()
    os.symlink(other / "a.png", folder.path / "images" / "b.png")
    folder.write("l.csv", "image,TB\nb.png,1\n")
    assert folder.read(labels_card()).images == ["images/b.png"]


@pytest.mark.parametrize("name", ["", ".", "./", "//", "/a.png", "../a.png", "./../a.png", "a/../b.png", "a\\b.png"])
def test_names_that_lead_nowhere_or_out_are_refused_still(name):
    with pytest.raises(DataError):
        checked_name(name, "row 2")
    assert not are_plain_names((name,))


PARTS = st.lists(st.sampled_from(["a", "b.png", "c d", ".", "", "x.", ".y"]), min_size=1, max_size=6)


@settings(deadline=None)
@given(PARTS)
def test_a_checked_name_is_that_of_os_path(parts):
    name = "/".join(parts)
    if name.strip("./") and not name.startswith("/"):
        assert checked_name(name, "") == os.path.normpath(name)
        if are_plain_names((name,)):
            assert os.path.normpath(name) == name


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="%/\0"), max_size=8))
def test_all_forms_of_a_name_have_one_spelling(name):
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert len({spelling(form) for form in forms}) == 1
    assert spelling(spelling(name)) == spelling(name)


def test_coco_and_masks_find_other_spellings_too(folder):
    folder.files("images/a.png")
    value = {"images": [{"id": 1, "file_name": "./A.png"}], "categories": [{"id": 1, "name": "TB"}], "annotations": []}
    folder.write("c.json", value)
    result = folder.read(make_card("coco", ["TB"], "detection", file="c.json", images="images"))
    assert result.images == ["images/a.png"]
    np.testing.assert_array_equal(result.labels, [[0]])
