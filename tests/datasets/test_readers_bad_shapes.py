"""Bad boxes, outlines and masks: the message names file and row; ``skip`` takes the image out, counts and lists it."""

from __future__ import annotations

import json
import math

import pytest

from foundationx.core.errors import CardError
from tests.datasets.test_readers_formats import BBOX, CHESTX, coco, coco_card
from tests.helpers.reader_cards import Folder, fault, make_card


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path)
    folder.files("a.png", "b.png", "c.png")
    return folder


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"category_id": 8, "bbox": [1, 1, 5, 5]}, "category_id is 8"),
        ({"category_id": [1], "bbox": [1, 1, 5, 5]}, "category_id is [1]"),
        ({"category_id": 1}, "neither a box nor an outline"),
        ({"category_id": 1, "bbox": [1, 1, 5]}, "4 numbers"),
        ({"category_id": 1, "bbox": [1, 1, "wide", 5]}, "4 numbers"),
        ({"category_id": 1, "bbox": [1, math.nan, 5, 5]}, "finite"),
        ({"category_id": 1, "bbox": [1, 1, math.inf, 5]}, "finite"),
        ({"category_id": 1, "bbox": [1, 1, 0, 5]}, "no positive size"),
        ({"category_id": 1, "bbox": [1, 1, 5, -5]}, "no positive size"),
        ({"category_id": 1, "bbox": [1, 1, 5, 50.5]}, "extends beyond its image of 100 x 50 pixels"),
        ({"category_id": 1, "bbox": [-1.5, 1, 5, 5]}, "extends beyond"),
    ],
)
def test_a_bad_box_names_its_annotation_and_takes_its_image_out(folder, annotation, words):
    images = [{"id": i, "file_name": f"{n}.png", "width": 100, "height": 50} for i, n in ((6, "b"), (7, "a"))]
    folder.write("f.json", coco([{"category_id": 3, "bbox": [2, 2, 4, 4]}, annotation], images))
    error = fault(folder, coco_card())
    assert error.where == "f.json annotation 2"
    assert words in str(error)
    result = folder.read(coco_card(), skip=True)
    assert result.images == ["b.png"]
    assert [(bad.file, bad.row) for bad in result.bad] == [("a.png", "f.json annotation 2")]


def test_an_annotation_of_no_image(folder):
    folder.write("f.json", coco([{"category_id": 1, "bbox": [1, 1, 5, 5], "image_id": 99}]))
    error = fault(folder, coco_card())
    assert error.where == "f.json annotation 1"
    result = folder.read(coco_card(), skip=True)
    assert len(result) == len(result.bad) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": None}, "f.json images"),
        ({"annotations": {}}, "f.json annotations"),
        ({"categories": [3]}, "f.json categories"),
        ({"categories": [{"id": 3, "name": "Nodule"}]}, "no category 'Mass'"),
        ({"categories": [{"name": "Nodule"}]}, "record has no id"),
        ({"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]}, "is repeated"),
    ],
)
def test_json_that_is_not_coco(folder, change, words):
    folder.write("f.json", coco([]) | change)
    assert words in str(fault(folder, coco_card(), skip=True))


@pytest.mark.parametrize(("text", "words"), [('{"images": [', "f.json line 1"), ("[]", "a list"), ("", "is empty")])
def test_json_that_is_cut_off_or_another(folder, text, words):
    folder.write("f.json", text)
    assert words in str(fault(folder, coco_card(), skip=True))


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        ({"counts": [1, 2], "size": [1, 1]}, "do not add up to 1 x 1 pixels"),
        ({"counts": "x"}, "size [height, width] and counts"),
        ({"counts": 3, "size": [1, 1]}, "size [height, width] and counts"),
        ("outline", "polygons, or runs"),
        ([[1, 1, 2, 2]], "three points"),
        ([[1, 1, 2, 2, 3]], "2 numbers"),
    ],
)
def test_outlines_that_cannot_be_used(folder, outline, words):
    folder.write("f.json", coco([{"category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": outline}]))
    error = fault(folder, coco_card("segmentation"))
    assert error.where == "f.json annotation 1"
    assert words in str(error)


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        ({"syms": ["Mass"]}, "f.json record 1", "syms 1, boxes 3, polygons 3"),
        ({"polygons": None}, "f.json record 1", "polygons missing"),
        ({"syms": ["Mass", "Mas", "Other"]}, "f.json record 1 finding 2", "did you mean 'Mass'?"),
        ({"boxes": [[1, 2, 30, 40], [5, 5, 5, 9], [0, 0, 1, 1]]}, "f.json record 1 finding 2", "no positive size"),
        ({"polygons": [[[1, 2], [3, 4]], [], []]}, "f.json record 1 finding 1", "three points"),
        ({"file_name": "z.png"}, "f.json record 1", "z.png does not exist"),
        ({"file_name": None}, "f.json record 1", "the file name is empty"),
    ],
)
def test_a_bad_record_of_chestx_det(folder, change, where, words):
    folder.write("f.json", [CHESTX[0] | change, CHESTX[1]])
    card = make_card("chestx_det", ["Mass"], "segmentation", file="f.json", options={"ignore": ["Other"]})
    error = fault(folder, card)
    assert error.where == where
    assert words in str(error)
    result = folder.read(card, skip=True)
    assert result.images == ["b.png"]
    assert len(result.bad) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b.png,Mas,1,1,5,5", "did you mean 'Mass'?"),
        ("b.png,Mass,1,,5,5", "4 numbers"),
        ("b.png,Mass,1,1,0,5", "no positive size"),
    ],
)
def test_a_bad_row_of_boxes_takes_its_image_out(folder, row, words):
    head = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    folder.write("f.csv", f"{head}a.png,Mass,1,1,5,5\nb.png,Mass,1,1,5,5\n{row}\n")
    card = make_card("bbox_csv", ["Mass"], "detection", file="f.csv", options=BBOX | {"box_layout": "xywh"})
    error = fault(folder, card)
    assert error.where == "f.csv row 4"
    assert words in str(error)
    result = folder.read(card, skip=True)
    assert result.images == ["a.png"]
    assert [(bad.file, bad.row) for bad in result.bad] == [("b.png", "f.csv row 4")]


def mask_card(**options):
    return make_card("mask_folder", ["Lung"], "segmentation", options={"folders": {"Lung": "m"}} | options)


def test_a_mask_without_image(folder):
    folder.files("m/a.png", "m/lost.png")
    assert fault(folder, mask_card()).where == "m/lost.png"
    result = folder.read(mask_card(), skip=True)
    assert result.images == ["a.png"]
    assert result.bad[0].row == "m/lost.png"


def test_folders_of_masks_that_do_not_fit_the_card(folder):
    assert "no folder 'm'" in fault(folder, mask_card()).found
    folder.files("m/a.png")
    assert "did you mean 'Lung'?" in str(fault(folder, mask_card(folders={"Lungs": "m"})))


def test_a_table_of_masks_names_the_row_of_a_missing_mask(folder):
    folder.files("m/1.png")
    folder.write("f.csv", "image,mask\na.png,m/1.png\nb.png,m/2.png\nc.png,../1.png\n")
    options = {"image_column": "image", "mask_column": "mask"}
    card = make_card("mask_table", ["Lung"], "segmentation", file="f.csv", options=options)
    error = fault(folder, card)
    assert error.where == "f.csv row 3"
    assert "m/2.png does not exist" in error.found
    result = folder.read(card, skip=True)
    assert [bad.row for bad in result.bad] == ["f.csv row 3", "f.csv row 4"]
    two = make_card("mask_table", ["Lung", "Heart"], "segmentation", file="f.csv", options=options)
    with pytest.raises(CardError, match="class_column"):
        folder.read(two)


def test_folders_that_are_no_class(folder):
    folder.files("x/PNEUMONIA/1.png", "x/NORMAL/2.png")
    card = make_card("class_folders", ["PNEUMONIA"], images="x")
    assert fault(folder, card).where.endswith("x/NORMAL")
    card = make_card("class_folders", ["Pneumonia"], images="x", options={"negative": ["NORMAL"]})
    assert "no folder Pneumonia" in fault(folder, card).found


def test_json_may_not_smuggle_numbers_that_are_none(folder):
    """Python's JSON reads NaN; a box of it must not get through."""
    text = json.dumps(coco([{"category_id": 1, "bbox": [1, 1, math.nan, 5]}]))
    folder.write("f.json", text)
    assert "NaN" in text
    assert fault(folder, coco_card()).where == "f.json annotation 1"
