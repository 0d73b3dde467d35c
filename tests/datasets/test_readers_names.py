"""Names in another form than the images', several boxes in one cell, sizes in millimetres, masks named by class."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from foundationx.core.errors import CardError
from tests.helpers.reader_cards import Folder, fault, make_card

NAN = math.nan

BOXES = {"image_column": "image", "box_layout": "xywh", "boxes_column": "boxes", "absent": "negative"}
ID = {"derived": {"image": {"column": "id", "form": "{value}_image"}}}


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path)
    folder.files("a.png", "b.png", "c.png")
    return folder


def assert_labels(found: np.ndarray, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


def boxes_card(**source):
    return make_card("bbox_csv", ["Opacity"], "detection", **{"file": "f.csv", "image_suffix": ".png"} | source)


def test_columns_are_derived_from_others_in_both_tables(folder):
    folder.write("f.csv", "id,study\na_image,s1\nb_image,s2\n")
    folder.write("g.csv", "id,Mass\ns2_study,1\ns1_study,0\n")
    join = {
        "file": "g.csv",
        "on": ["study"],
        "table": {"derived": {"study": {"column": "id", "form": "{value}_study"}}},
    }
    options = {"image_column": "image"}
    source = {"file": "f.csv", "image_suffix": ".png", "table": ID, "join": [join], "options": options}
    result = folder.read(make_card("label_columns_csv", ["Mass"], **source))
    assert result.images == ["a.png", "b.png"]
    assert_labels(result.labels, [[0], [1]])


@pytest.mark.parametrize("name", ["a", "_image", "a_images", "a.dcm"])
def test_a_name_in_another_form_is_an_error(folder, name):
    folder.write("f.csv", f"id,boxes\n{name},\n")
    error = fault(folder, boxes_card(table=ID, options=BOXES))
    assert (error.where, error.expected) == ("f.csv row 2", "{value}_image")
    assert repr(name) in error.found and "table.derived" in error.fix


@pytest.mark.parametrize("form", ["image", "{value}{value}", "{image}", "{value}_{other}"])
def test_the_form_of_a_derived_column_has_one_value(form):
    with pytest.raises(ValidationError, match="must contain"):
        boxes_card(table={"derived": {"image": {"column": "id", "form": form}}}, options=BOXES)


@pytest.mark.parametrize(
    "cell",
    [
        "[{'x': 1, 'y': 2.5, 'width': 10, 'height': 20}, {'x': 30.0, 'y': 3, 'width': 4, 'height': 5}]",
        '[{"y": 2.5, "x": 1, "width": 10, "height": 20}, {"x": 3e1, "y": 3, "width": 4, "height": 5, "area": 20}]',
        "[[1, 2.5, 10, 20], [30, 3, 4, 5]]",
        "[(1, 2.5, 10, 20), [30, 3, 4, 5]]",
    ],
)
def test_several_boxes_are_read_from_one_cell(folder, cell):
    quoted = cell.replace('"', '""')
    folder.write("f.csv", f'image,boxes\na,"{quoted}"\nb,\nc,[]\n')
    result = folder.read(boxes_card(options=BOXES))
    assert [target.boxes.tolist() for target in result.targets] == [[[1, 2.5, 11, 22.5], [30, 3, 34, 8]], [], []]
    assert_labels(result.labels, [[1], [0], [0]])


@pytest.mark.parametrize(
    "cell",
    [
        "[1, 2, 3, 4]",
        "[{'x': 1}]",
        "[[1, 2, 3]]",
        "5",
        "[",
        "__import__('os')",
        "[[1, 2, 'w', 4]]",
        "[" * 500,
        "{1: 2}",
    ],
)
def test_a_cell_without_a_list_of_boxes_is_an_error(folder, cell):
    folder.write("f.csv", f'image,boxes\na,"{cell}"\n')
    assert fault(folder, boxes_card(options=BOXES)).where == "f.csv row 2"


def test_sizes_in_millimetres_are_converted_and_positions_are_not(folder):
    folder.write("f.csv", "image,x,y,mm\na,1000,500,35\n")
    options = {"image_column": "image", "box_columns": ["x", "y", "mm", "mm"], "box_layout": "cxcywh"}
    result = folder.read(boxes_card(options=options | {"pixel_spacing": 0.175}))
    assert result.targets[0].boxes.tolist() == [[900, 400, 1100, 600]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"box_columns": ["x", "y", "w", "h"]}, "exactly one of box_columns and boxes_column"),
        ({"boxes_column": None}, "exactly one of box_columns and boxes_column"),
        ({"pixel_spacing": 0.1, "box_layout": "xyxy"}, "pixel_spacing needs a box_layout with sizes"),
    ],
)
def test_options_of_boxes_that_contradict_each_other_are_refused(folder, change, text):
    folder.write("f.csv", "image,boxes\na,\n")
    with pytest.raises(CardError, match=text):
        folder.read(boxes_card(options=BOXES | change))


def test_columns_without_a_name_are_skipped_and_may_be_missing(folder):
    folder.write("f.csv", "a.png\t1\tupper\tlobe\nb.png\t0\nc.png\t1\tlower\n")
    table = {"delimiter": "tab", "header": ["image", "Mass", "", ""]}
    result = folder.read(
        make_card("label_columns_csv", ["Mass"], file="f.csv", table=table, options={"image_column": "image"})
    )
    assert_labels(result.labels, [[1], [0], [1]])
    folder.write("f.csv", "a.png\t1\tupper\tlobe\tmore\n")
    card = make_card("label_columns_csv", ["Mass"], file="f.csv", table=table, options={"image_column": "image"})
    assert fault(folder, card).found == "has 5 cells"


KINDS = ["Nodule", {"name": "Calcified", "sources": ["Calcified_Nodule"]}, "Cavity_(2mm-5mm)"]


def masks_card(**options):
    given = {"masks": "masks", "mask_name": "{image_stem}_{class}_{number}.png"} | options
    return make_card("named_masks", KINDS, "segmentation", images="images", options=given)


@pytest.fixture
def masks(tmp_path) -> Folder:
    folder = Folder(tmp_path)
    folder.files("images/x_1.png", "images/y_1.png", "images/z_0.png", "images/Thumbs.db")
    folder.files(*(f"masks/x_1_{name}.png" for name in ("Calcified_Nodule_1", "Nodule_1", "Nodule_12")))
    folder.files("masks/Thumbs.db")
    return folder


def test_masks_are_of_the_longest_class_in_their_name_and_those_of_one_class_are_united(masks):
    result = masks.read(masks_card())
    assert result.images == ["images/x_1.png"]
    assert_labels(result.labels, [[1, 1, NAN]])
    assert [(part.class_index, part.file.removeprefix("masks/x_1_")) for part in result.targets[0]] == [
        (1, "Calcified_Nodule_1.png"),
        (0, "Nodule_1.png"),
        (0, "Nodule_12.png"),
    ]


def test_annotated_images_without_a_mask_have_none_of_the_classes(masks):
    masks.files("masks/y_1_Cavity_(2mm-5mm)_3.png", "images/u_1.png")
    result = masks.read(masks_card(absent="negative", annotated=r"_1\.png$"))
    assert result.images == ["images/u_1.png", "images/x_1.png", "images/y_1.png"]  # z_0 was not annotated
    assert_labels(result.labels, [[0, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert result.targets[0] == ()


def test_a_mask_of_an_unknown_class_is_an_error_and_can_be_skipped(masks):
    masks.files("masks/y_1_Nodules_1.png")
    error = fault(masks, masks_card())
    assert (error.where, error.found) == ("masks/y_1_Nodules_1.png", "the name holds no class of the card")
    assert masks.read(masks_card(), skip=True).images == ["images/x_1.png"]


def test_a_mask_without_an_image_is_an_error(masks):
    masks.files("masks/w_1_Nodule_1.png")
    error = fault(masks, masks_card())
    assert (error.where, error.found) == ("masks/w_1_Nodule_1.png", "no image in 'images' is called w_1")


@pytest.mark.parametrize(
    "name", ["{image_stem}.png", "{class}.png", "{image_stem}_{image_name}_{class}.png", "{x}_{class}"]
)
def test_the_name_of_a_mask_must_hold_one_image_and_one_class(masks, name):
    with pytest.raises(CardError, match="contain"):
        masks.read(masks_card(mask_name=name))


def test_a_name_of_a_mask_may_hold_the_whole_name_of_the_image(masks):
    masks.files("more/Nodule-x_1.png.gif")
    result = masks.read(masks_card(masks=["more"], mask_name="{class}-{image_name}.gif"))
    assert result.images == ["images/x_1.png"]
