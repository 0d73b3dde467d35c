"""Copies of datasets as people hold them: other file names, suffixes, folders and sizes than the published ones."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foundationx.core.errors import CardError, DataError
from foundationx.core.types import ReferenceSize, Split, Task
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.card import Card
from foundationx.datasets.location import dataset_folder
from tests.helpers.reader_cards import Folder, fault, make_card

FINDINGS = {"image_column": "file", "findings_column": "found"}


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def findings_card(**source) -> Card:
    return make_card("findings_csv", ["Mass"], **{"file": "f.csv", "images": "images", "options": FINDINGS} | source)


@pytest.mark.parametrize("name", ["new.csv", "old.csv", "old.csv.gz", "new.csv.gz"])
def test_the_annotation_file_is_the_first_alternative_that_is_there_packed_or_not(folder, name):
    folder.files("images/a.png")
    text = b"file,found\na.png,Mass\n"
    (folder.path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    result = folder.read(findings_card(file="new.csv | old.csv"))
    assert (result.images, result.rows) == (["images/a.png"], [f"{name} row 2"])


def test_of_two_alternatives_that_differ_neither_is_taken(folder):
    folder.files("images/a.png")
    folder.write("new.csv", "file,found\na.png,Mass\n")
    folder.write("old.csv", "file,found\na.png,Mass\n")
    card = findings_card(file="new.csv | old.csv")
    assert folder.read(card).rows == ["new.csv row 2"]  # equal copies
    folder.write("old.csv", "file,found\na.png,Mass,\n")
    error = fault(folder, card)
    assert "new.csv and old.csv are both there and differ" in error.found
    assert "remove one" in error.fix


def test_a_file_that_is_missing_under_every_name_is_named_with_the_nearest_one(folder):
    folder.files("images/a.png")
    folder.write("Data_Entry_2018.csv", "file,found\na.png,Mass\n")
    error = fault(folder, findings_card(file="Data_Entry_2017_v2020.csv | Data_Entry_2017.csv"))
    assert "there is none of Data_Entry_2017_v2020.csv, Data_Entry_2017.csv" in error.found
    assert "did you mean 'Data_Entry_2018.csv'?" in error.expected
    assert "`Data_Entry_2017_v2020.csv | Data_Entry_2017.csv | Data_Entry_2018.csv`" in error.fix


@pytest.mark.parametrize(
    ("suffix", "name", "file"),
    [
        (".dicom | .dcm | .png", "a", "a.dcm"),
        (".dicom | .dcm | .png", "a", "a.png"),
        (".dcm |", "1.2.276.0", "1.2.276.0"),
        ("| .png", "a.jpg", "a.png"),
        (".dcm | .png", "a.dcm", "a.png"),
        ("| .jpg", "1.2.840.0", "1.2.840.0.jpg"),
    ],
)
def test_images_are_found_under_another_suffix_of_the_same_stem(folder, suffix, name, file):
    folder.files(f"images/{file}")
    folder.write("f.csv", f"file,found\n{name},Mass\n")
    assert folder.read(findings_card(image_suffix=suffix)).images == [f"images/{file}"]
    folder.files("more/b.png")
    folder.files("images/c.png")
    assert folder.read(findings_card(image_suffix=suffix, images=["images", "more"])).images == [f"images/{file}"]


def test_the_first_suffix_of_the_card_wins_over_copies_beside_it(folder):
    folder.files("images/a.png", "images/a.dcm")
    folder.write("f.csv", "file,found\na,Mass\n")
    assert folder.read(findings_card(image_suffix=".dcm | .png")).images == ["images/a.dcm"]
    assert folder.read(findings_card(image_suffix=".png | .dcm")).images == ["images/a.png"]


def test_patients_and_official_splits_of_a_copy_are_those_of_the_published_names(folder):
    folder.files("images/p1_1.jpg", "images/p2_1.jpg")
    folder.write("f.csv", "file,found\np1_1.png,Mass\np2_1.png,Mass\n")
    folder.write("test_list.txt", "p2_1.png\n")
    further = {"patient": {"pattern": r"(p\d+)_\d+\.png$"}, "splits": {"lists": {"test": "test.txt | test_list.txt"}}}
    result = folder.read(findings_card(image_suffix="| .jpg", **further))
    assert result.patients == ["tiny:p1", "tiny:p2"]
    assert result.splits == [None, Split.TEST]
    own = folder.read(findings_card(image_suffix="| .jpg"))
    assert own.patients == ["tiny:images/p1_1.png", "tiny:images/p2_1.png"]


def test_folders_and_templates_have_alternatives_too(folder):
    folder.files("images-224/a.png")
    folder.write("f.csv", "file,found,dir\na.png,Mass,7\n")
    assert folder.read(findings_card(images="images | images-224")).images == ["images-224/a.png"]
    card = findings_card(images="", image_path="{dir}/{file} | images-224/{file}")
    assert folder.read(card).images == ["images-224/a.png"]
    folder.files("7/a.png")
    assert folder.read(card).images == ["7/a.png"]
    missing = fault(folder, findings_card(images="other | further"))
    assert "there is no folder 'other | further'" in missing.found


def test_a_patient_table_and_a_joined_table_have_alternatives(folder):
    folder.files("images/a.png")
    folder.write("f.csv", "file,key\na.png,1\n")
    folder.write("found_old.csv", "key,found\n1,Mass\n")
    folder.write("who_old.csv", "image,who\na.png,7\n")
    patient = {"tables": [{"file": ["who.csv", "who_old.csv"], "image_column": "image", "value_column": "who"}]}
    join = [{"file": "found.csv | found_old.csv", "on": ["key"]}]
    assert folder.read(findings_card(join=join, patient=patient)).patients == ["tiny:7"]


def test_an_empty_alternative_of_a_file_is_refused():
    with pytest.raises(ValueError, match="has an empty alternative"):
        findings_card(file="a.csv |")


@pytest.mark.parametrize("top", ["TBX11K", "physionet.org/files/tiny/1.0.0", "ChinaSet/ChinaSet"])
def test_a_dataset_may_lie_in_the_folder_of_its_archive(folder, top):
    folder.files(f"{top}/images/a.png", "README.txt", "__MACOSX/images/._a.png", "docs/licence.pdf")
    folder.write(f"{top}/f.csv", "file,found\na.png,Mass\n")
    card = findings_card(
        patient={"tables": [{"file": "../other/who.csv", "image_column": "image", "value_column": "who"}]}
    )
    (folder.data_root / "other").mkdir()
    (folder.data_root / "other" / "who.csv").write_text("image,who\na.png,7\n")
    assert dataset_folder(card, folder.data_root) == folder.path / top
    result = folder.read(card)
    assert (result.images, result.patients) == (["images/a.png"], ["tiny:7"])  # names do not depend on the copy


def test_two_copies_below_the_folder_are_refused(folder):
    for top in ("one", "two"):
        folder.files(f"{top}/images/a.png")
        folder.write(f"{top}/f.csv", "file,found\na.png,Mass\n")
    error = fault(folder, findings_card())
    assert "one and two both hold files of tiny" in error.found
    assert "root (tiny/one)" in error.fix
    folder.write("one/g.csv", "")
    (folder.path / "two" / "f.csv").unlink()
    assert folder.read(findings_card()).images == ["images/a.png"]  # only one is whole


def test_the_folder_itself_goes_before_folders_in_it(folder):
    folder.files("images/a.png", "copy/images/a.png")
    folder.write("copy/f.csv", "file,found\na.png,Mass\n")
    assert dataset_folder(findings_card(), folder.data_root) == folder.path
    with pytest.raises(CardError):
        dataset_folder(findings_card(), folder.data_root, "../elsewhere")


def test_class_folders_may_lie_in_the_folder_of_their_archive(folder):
    folder.files("COVIDGR_1.0/N/a.jpg", "COVIDGR_1.0/P/b.jpg")
    card = make_card("class_folders", [{"name": "COVID-19", "sources": ["P"]}], options={"negative": ["N"]})
    assert folder.read(card).images == ["N/a.jpg", "P/b.jpg"]


# ---- sizes of reference


def box_card(rows, task="detection", **options) -> Card:
    values = {"image_column": "file", "box_columns": ["x", "y", "w", "h"], "box_layout": "xywh"}
    return make_card("bbox_csv", ["Mass"], task, file="b.csv", options=values | options)


def boxes_of(folder, card, size, rows):
    """Boxes of a.png, an image of ``size`` (width, height), in its pixels."""
    Image.new("L", size).save(folder.path / "a.png")
    with (folder.path / "b.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "x", "y", "w", "h", "width", "height"], *rows])
    dataset = CardDataset(folder.read(card), folder.path, ViewPipeline(32))
    return dataset.target(0, (size[1], size[0])).boxes.tolist()


@pytest.mark.parametrize(
    "reference", [{"reference_size": [1024, 2048]}, {"reference_size": ["width", "height"]}], ids=["numbers", "columns"]
)
def test_boxes_fit_a_resized_copy(folder, reference):
    row = ["a.png", 100, 200, 300, 400, 1024, 2048]
    assert boxes_of(folder, box_card([], **reference), (1024, 2048), [row]) == [[100, 200, 400, 600]]
    assert boxes_of(folder, box_card([], **reference), (256, 512), [row]) == [[25, 50, 100, 150]]
    with pytest.raises(DataError, match="coordinates are for 1024 x 2048 pixels, the image has 512 x 512"):
        boxes_of(folder, box_card([], **reference), (512, 512), [row])
    squeezed = box_card([], **reference, any_aspect=True)
    assert boxes_of(folder, squeezed, (512, 512), [row]) == [[50, 50, 200, 150]]


def test_boxes_may_be_shares_of_the_image(folder):
    row = ["a.png", 0.5, 0.25, 0.5, 0.75, "", ""]
    assert boxes_of(folder, box_card([], reference_size="unit"), (400, 200), [row]) == [[200, 50, 400, 200]]
    centred = box_card([], reference_size="unit", box_layout="cxcywh")
    assert boxes_of(folder, centred, (400, 200), [["a.png", 0.5, 0.5, 0.5, 0.5, "", ""]]) == [[100, 50, 300, 150]]
    with pytest.raises(DataError, match="extends beyond its image of 1 x 1"):
        boxes_of(folder, box_card([], reference_size="unit"), (400, 200), [["a.png", 10, 20, 30, 40, "", ""]])


def test_boxes_of_a_wrong_scale_are_refused(folder):
    with pytest.raises(DataError, match="extends beyond its image of 256 x 256") as caught:
        boxes_of(folder, box_card([], reference_size=[256, 256]), (256, 256), [["a.png", 300, 0, 9, 9, "", ""]])
    assert "reference_size" in caught.value.fix
    with pytest.raises(DataError, match="lies outside the image of 256 x 256") as caught:
        boxes_of(folder, box_card([]), (256, 256), [["a.png", 300, 0, 9, 9, "", ""]])
    assert "reference_size" in caught.value.fix


@given(
    reference=st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    scale=st.floats(0.1, 4),
    rounding=st.sampled_from([int, round]),
)
def test_every_rounded_copy_fits_and_a_squeezed_one_does_not(reference, scale, rounding):
    height, width = reference
    copied = (max(1, rounding(height * scale)), max(1, rounding(width * scale)))
    assert ReferenceSize(height, width).fits(copied)
    if abs(height - width) > 0.2 * max(reference):
        side = max(copied)
        assert not ReferenceSize(height, width).fits((side, side)) or side < 16


def test_coco_polygons_and_boxes_follow_the_declared_size(folder):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 40}],
        "categories": [{"id": 1, "name": "Mass"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 20, 10],
             "segmentation": [[20, 10, 40, 10, 40, 20, 20, 20]]}
        ],
    }  # fmt: skip
    folder.write("c.json", content)
    Image.new("L", (160, 80)).save(folder.path / "a.png")
    found = folder.read(make_card("coco", ["Mass"], "detection", file="c.json"))
    assert CardDataset(found, folder.path, ViewPipeline(32)).target(0, (80, 160)).boxes.tolist() == [[40, 20, 80, 40]]
    found = folder.read(make_card("coco", ["Mass"], "segmentation", file="c.json"))
    masks = CardDataset(found, folder.path, ViewPipeline(32)).target(0, (80, 160)).masks[0]
    rows, columns = np.nonzero(masks)
    assert rows.min() in (19, 20) and rows.max() in (39, 40) and columns.min() in (39, 40) and columns.max() in (79, 80)


def test_runs_fit_a_resized_copy(folder):
    folder.write("m.csv", "file,runs\na.png,0 32\n")  # the left half of 8 x 8, down the columns
    Image.new("L", (16, 16)).save(folder.path / "a.png")
    options = {"image_column": "file", "runs_columns": {"Mass": "runs"}, "relative": True, "first": 0}
    options |= {"order": "columns", "height": 8, "width": 8}
    found = folder.read(make_card("runs_csv", ["Mass"], "segmentation", file="m.csv", options=options))
    masks = CardDataset(found, folder.path, ViewPipeline(32)).target(0, (16, 16)).masks[0]
    np.testing.assert_array_equal(masks, np.repeat([[1] * 8 + [0] * 8], 16, axis=0))
    found = folder.read(make_card("runs_csv", ["Mass"], "detection", file="m.csv", options=options))
    assert CardDataset(found, folder.path, ViewPipeline(32)).target(0, (16, 16)).boxes.tolist() == [[0, 0, 8, 16]]
    with pytest.raises(DataError, match="coordinates are for 8 x 8"):
        CardDataset(found, folder.path, ViewPipeline(32)).target(0, (16, 8))


def test_a_size_that_is_none_is_refused(folder):
    with pytest.raises(ValueError, match="reference_size"):
        options = box_card([], reference_size=[0, 10]).tasks[Task.DETECTION].options
        from foundationx.datasets.readers.bbox_csv import Options

        Options.model_validate(options)
    with pytest.raises(DataError, match="width is ''"):
        card = box_card([], reference_size=["width", "height"])
        boxes_of(folder, card, (9, 9), [["a.png", 1, 1, 2, 2, "", ""]])
