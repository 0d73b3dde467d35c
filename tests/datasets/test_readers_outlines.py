"""Run-length masks, outlines in cells, polygons by columns, masks of another size than their image."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from foundationx.core.errors import DataError
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.readers._runs import bounding_box, runs_from_coco, runs_from_text
from foundationx.tasks.segmentation.target import paint
from tests.helpers.layouts.images import runs as write_runs
from tests.helpers.reader_cards import Folder, fault, make_card

NAN = math.nan


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def masks_of(folder: Folder, card, index: int = 0, size: tuple[int, int] = (3, 4)) -> np.ndarray:
    """(K, H, W) of one image."""
    return CardDataset(folder.read(card), folder.path, ViewPipeline(32)).target(index, size).masks


def runs_card(task: str = "segmentation", classes=("Air",), **options):
    columns = {"image_column": "ImageId", "runs_columns": {name: name for name in classes}}
    given = {"relative": False, "first": 0, "order": "rows", "height": 3, "width": 4} | options
    return make_card("runs_csv", classes, task, file="f.csv", options=columns | given)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("1 2 6 3", {}, ["0110", "0011", "1000"]),
        ("1 2 6 3", {"order": "columns"}, ["0010", "1010", "1010"]),
        ("1 2 3 3", {"relative": True}, ["0110", "0011", "1000"]),
        ("1 2 3 3", {"relative": True, "order": "columns"}, ["0010", "1010", "1010"]),
        ("2 2 7 3", {"first": 1}, ["0110", "0011", "1000"]),
        ("2 2 3 3", {"relative": True, "first": 1}, ["0110", "0011", "1000"]),
        ("0 12", {}, ["1111", "1111", "1111"]),
    ],
)
def test_runs_by_hand(folder, text, options, expected):
    folder.files("a")
    folder.write("f.csv", f"ImageId, Air \na, {text} \n")
    (mask,) = masks_of(folder, runs_card(**options))
    assert ["".join(map(str, row)) for row in mask] == expected


MASKS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 1))


@settings(deadline=None, max_examples=200)
@given(
    mask=MASKS.filter(np.any),
    relative=st.booleans(),
    first=st.integers(0, 1),
    order=st.sampled_from(["rows", "columns"]),
)
def test_a_mask_written_and_read_is_itself(mask, relative, first, order):
    text = write_runs(mask, relative=relative, first=first, order=order)
    height, width = mask.shape
    result = runs_from_text(text, "", relative=relative, first=first, order=order, height=height, width=width)
    np.testing.assert_array_equal(paint(result, (99, 99)), mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = bounding_box(result, *mask.shape)
    assert box[0] <= columns[0] and box[2] >= columns[-1] + 1 and box[1] <= rows[0] and box[3] >= rows[-1] + 1
    if (mask.sum(axis=1 if order == "rows" else 0) < mask.shape[1 if order == "rows" else 0]).all():
        assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@settings(deadline=None, max_examples=100)
@given(mask=MASKS)
def test_coco_runs_are_those_of_pycocotools(mask):
    packed = coco_mask.encode(np.asfortranarray(mask))
    packed["counts"] = packed["counts"].decode()
    np.testing.assert_array_equal(paint(runs_from_coco(packed, ""), (1, 1)), mask)
    flat = mask.T.reshape(-1).tolist()
    counts, value = [], 0  # plain counts begin with those of 0
    for pixel in [*flat]:
        if not counts or pixel != value:
            counts += [0] * (not counts and pixel == 1) + [0]
            value = pixel
        counts[-1] += 1
    plain = {"size": list(mask.shape), "counts": counts}
    np.testing.assert_array_equal(paint(runs_from_coco(plain, ""), (1, 1)), mask)
    np.testing.assert_array_equal(coco_mask.decode(coco_mask.frPyObjects(plain, *mask.shape)), mask)


@pytest.mark.parametrize(
    "value",
    [
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [1, 2, -1, 2]},
        {"size": [2], "counts": [4]},
        {"size": [0, 2], "counts": [0]},
        {"counts": [4]},
        {"size": [2, 2], "counts": "\u00e9"},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": " "},
        {"size": [2, 2], "counts": "p"},
        {"size": [2, 2], "counts": "\u007f"},
        {"size": [2, 2], "counts": "oooooooo0"},
        {"size": [2, 2], "counts": "@1"},
        {"size": [2, 2], "counts": "b'4'"},
        {"size": [2.5, 2], "counts": [4]},
        {"size": [True, 4], "counts": [4]},
        {"size": [2, 2], "counts": [1.5, 2.5]},
        {"size": [2, 2], "counts": [2**70, 4]},
        {"size": [2, 2], "counts": [math.nan]},
        {"size": [2, 2]},
    ],
)
def test_coco_runs_that_are_none(value):
    with pytest.raises(DataError) as caught:
        runs_from_coco(value, "f.json annotation 3")
    assert caught.value.where == "f.json annotation 3"


LARGE = arrays.arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.integers(0, 1))


@settings(deadline=None, max_examples=100)
@given(mask=LARGE, other=st.tuples(st.integers(1, 70), st.integers(1, 70)), cut=st.integers(1, 200))
def test_packed_runs_that_do_not_fill_their_size_are_refused(mask, other, cut):
    """pycocotools fills the rest with what its memory holds."""
    text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    whole = runs_from_coco({"size": [*map(float, mask.shape)], "counts": text}, "")
    np.testing.assert_array_equal(paint(whole, (1, 1)), mask)
    if mask.size != other[0] * other[1]:
        with pytest.raises(DataError, match="counts do not add up"):
            runs_from_coco({"size": list(other), "counts": text}, "")
    if cut < len(text):
        with pytest.raises(DataError, match=r"do not add up|cut off"):
            runs_from_coco({"size": list(mask.shape), "counts": text[:-cut]}, "")


def test_minus_one_is_empty_and_blank_is_unknown_or_negative(folder):
    folder.files("a", "b", "c")
    folder.write("f.csv", "ImageId,Air,Water\na,-1,0 2\nb,,-1\nc,0 1,\n")
    card = runs_card(classes=("Air", "Water"))
    np.testing.assert_array_equal(folder.read(card).labels, [[0, 1], [NAN, 0], [1, NAN]])
    assert (masks_of(folder, card, 1) == [[[255]], [[0]]]).all()
    negative = runs_card(classes=("Air", "Water"), blank="negative")
    np.testing.assert_array_equal(folder.read(negative).labels, [[0, 1], [0, 0], [1, 0]])


def test_several_rows_of_one_image_are_several_objects(folder):
    folder.files("a")
    folder.write("f.csv", "ImageId,Air\na,1 2 5 2\na,8 1\n")
    result = folder.read(runs_card("detection"))
    np.testing.assert_array_equal(result.targets[0].boxes, [[1, 0, 3, 2], [0, 2, 1, 3]])
    (mask,) = masks_of(folder, runs_card())
    assert ["".join(map(str, row)) for row in mask] == ["0110", "0110", "1000"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("1 2 x 3", "not a whole number"),
        ("1 2 3", "contains 3 numbers"),
        ("1 0", "a run of length 0"),
        ("1 3 2 2", "overlap"),
        ("10 3", "outside the mask"),
        ("-5 3", "out of range"),
        ("99999999999999999999 3", "not a whole number"),
    ],
)
def test_runs_that_are_none_name_their_row(folder, cell, words):
    folder.files("a", "b")
    folder.write("f.csv", f"ImageId,Air\na,-1\nb,{cell}\n")
    error = fault(folder, runs_card())
    assert error.where == "f.csv row 3" and words in error.found
    assert [bad.row for bad in folder.read(runs_card(), skip=True).bad] == ["f.csv row 3"]


def test_runs_of_an_unknown_size_must_lie_in_the_image(folder):
    folder.files("a")
    folder.write("f.csv", "ImageId,Air\na,10 3\n")
    with pytest.raises(DataError, match="lies outside the image of 4 x 3 pixels") as caught:
        masks_of(folder, runs_card(height=None, width=None))
    assert caught.value.where == "f.csv row 2 (a)"


def test_poor_masks_are_left_out_and_sizes_stand_in_columns(folder):
    folder.files("a", "b", "c")
    folder.write("f.csv", "ImageId,Air,q,h,w\na,1 2,0.9,2,2\nb,1 2,0.69,2,2\nc,-1,0.7,2,2\n")
    card = runs_card(height="h", width="w", scaled=True, quality_column="q", quality_least=0.7)
    assert folder.read(card).images == ["a", "c"]
    (mask,) = masks_of(folder, card, size=(4, 4))  # each pixel of the 2 x 2 mask becomes four
    assert ["".join(map(str, row)) for row in mask] == ["0011", "0011", "1100", "1100"]
    (mask,) = masks_of(folder, runs_card(height="h", width="w"), size=(4, 4))  # a copy of twice the size
    assert ["".join(map(str, row)) for row in mask] == ["0011", "0011", "1100", "1100"]
    with pytest.raises(DataError, match="coordinates are for 2 x 2 pixels, the image has 8 x 4"):
        masks_of(folder, runs_card(height="h", width="w"), size=(4, 8))
    folder.write("f.csv", "ImageId,Air,q,h,w\na,1 2,good,2,2\n")
    error = fault(folder, card)
    assert error.where == "f.csv row 2" and "q is 'good'" in error.found


def test_scaled_mask_files(folder):
    folder.files("images/a.png")
    (folder.path / "masks").mkdir()
    cv2.imwrite(str(folder.path / "masks" / "a.png"), np.array([[255, 0], [0, 255]], np.uint8))
    options = {"folders": {"Lung": "masks"}, "positive": 255}
    scaled = make_card("mask_folder", ["Lung"], "segmentation", images="images", options=options | {"scaled": True})
    (mask,) = masks_of(folder, scaled, size=(2, 4))
    assert mask.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    with pytest.raises(DataError, match="the mask has 2 x 2 pixels") as caught:
        masks_of(folder, make_card("mask_folder", ["Lung"], "segmentation", images="images", options=options))
    assert "masks/a.png" in caught.value.where


def objects_card(task: str, classes=("Thing",)):
    options = {"image_column": "image_name", "objects_column": "annotation"}
    return make_card("object_list_csv", classes, task, file="f.csv", options=options)


def test_objects_in_one_cell(folder):
    folder.files("a", "b")
    folder.write("f.csv", "image_name,annotation\na,0 2 3 10 5;1 20 20 40 30;2 1 1 5 1 5 9\nb,\n")
    result = folder.read(objects_card("detection"))
    np.testing.assert_array_equal(result.labels, [[1], [0]])
    np.testing.assert_allclose(result.targets[0].boxes, [[2, 3, 10, 5], [20, 20, 40, 30], [1, 1, 5, 9]], atol=1e-5)
    assert result.targets[1].boxes.shape == (0, 4)
    (mask,) = masks_of(folder, objects_card("segmentation"), size=(50, 50))
    ellipse = mask[15:35, 15:45].sum()
    assert 0 < ellipse - math.pi * 10 * 5 < 35  # the edge counts too: half a pixel along a way of 48
    assert mask[25, 30] == 1 and mask[21, 21] == 0  # inside the ellipse, and in the corner of its box
    assert mask[4, 6] == 1 and mask[8, 1] == 0 and mask[2, 4] == 1


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("0 2 3 10", "4 numbers"),
        ("0 10 3 2 5", "an object extends from 10, 3 to 2, 5"),
        ("2 1 1 5", "a polygon has 3 coordinates"),
        ("2 1 1 5 5", "fewer than three points"),
        ("3 1 1 5 5", "of an unknown kind"),
        ("0 1 1 5 5;", "of an unknown kind"),
        ("0 1 1 nan 5", "finite numbers"),
    ],
)
def test_objects_that_are_none_name_their_row(folder, cell, words):
    folder.files("a", "b")
    folder.write("f.csv", f"image_name,annotation\na,\nb,{cell}\n")
    error = fault(folder, objects_card("detection"))
    assert error.where == "f.csv row 3" and words in error.found + error.expected


def ribs(points) -> dict:
    return {"img": {"0": "x/y/a.png", "1": "x/y/b.png"}, "R1": {"0": points}, "L1": {"0": [], "1": points}}


def test_polygons_by_columns(folder):
    folder.files("data/a.png", "data/b.png")
    folder.write("f.json", ribs([{"x": 1, "y": 1}, {"x": 4, "y": 1}, {"x": 4, "y": 3}]))
    options = {"image_column": "img", "strip_folders": True}
    card = make_card(
        "polygon_columns_json", ["L1", "R1"], "segmentation", file="f.json", images="data", options=options
    )
    result = folder.read(card)
    np.testing.assert_array_equal(result.labels, [[NAN, 1], [1, NAN]])
    masks = masks_of(folder, card, size=(5, 6))
    assert (masks[0] == 255).all()
    assert not masks[1][[0, 3, 4]].any()
    assert masks[1][1].tolist()[:1] + masks[1][1].tolist()[4:] == [0, 0, 0]
    pairs = [[1, 1], [4, 1], [4, 3]]
    drawn = coco_mask.decode(coco_mask.frPyObjects([np.ravel(pairs).tolist()], 5, 6))[..., 0]
    np.testing.assert_array_equal(masks[1], drawn)
    assert drawn[1:3].sum() == 3
    folder.write("f.json", ribs(pairs))
    np.testing.assert_array_equal(masks_of(folder, card, size=(5, 6)), masks)
    folder.write("f.json", ribs(pairs[:2]))
    error = fault(folder, card)
    assert error.where == "f.json image 0 R1" and "fewer than three points" in error.found
    folder.write("f.json", {"img": {}, "R1": {}})
    error = fault(folder, card)
    assert error.where == "f.json" and "there is no column 'L1'" in error.found
