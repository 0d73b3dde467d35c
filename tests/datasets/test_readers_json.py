"""JSON with outlines by image and class, JSON lists of findings with boxes, and splits in another table."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from foundationx.core.types import Split
from tests.helpers.reader_cards import Folder, fault, make_card

SQUARE = [[2, 3], [9, 3], [9, 8], [2, 8]]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def outlines(task: str = "segmentation", classes=("A", "B"), **options):
    options = {"key_separator": "_", "key_folders": 2, "size_key": "size"} | options
    return make_card("outlines_json", classes, task, file="o.json", images="x", image_suffix=".png", options=options)


def compressed(values: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(values))
    return {"size": list(values.shape), "counts": encoded["counts"].decode()}


def test_keys_join_folders_and_classes_hold_polygons_or_runs(folder):
    folder.files("x/p1/s1/v_1.png", "x/p2/s1/v.png", "x/p3/s1/v.png")
    drawn = np.zeros((20, 30), np.uint8)
    drawn[4:9, 5:15] = 1
    folder.write(
        "o.json",
        {
            "p1_s1_v_1": {"size": [20, 30], "A": [SQUARE, SQUARE], "B": None},
            "p2_s1_v": {"size": [20, 30], "B": compressed(drawn), "A": compressed(drawn * 0)},
            "p3_s1_v": {"size": [20, 30]},
        },
    )
    masks, boxes = folder.read(outlines()), folder.read(outlines("detection", absent="negative"))
    assert masks.images == ["x/p1/s1/v_1.png", "x/p2/s1/v.png", "x/p3/s1/v.png"]
    assert str(masks.labels.tolist()) == "[[1.0, nan], [0.0, 1.0], [nan, nan]]"
    assert boxes.labels.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert [target.boxes.tolist() for target in boxes.targets] == [[[2, 3, 9, 8]] * 2, [[5, 4, 15, 9]], []]
    assert [len(parts) for parts in masks.targets] == [2, 1, 0]
    assert [(size.height, size.width) for size in masks.sizes.values()] == [(20, 30)] * 3


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"size": [20, 30], "C": [SQUARE]}, "'C' is not a class"),
        ({"size": [20, 30], "A": [SQUARE[:2]]}, "fewer than three points"),
        ({"size": [20, 30], "A": 7}, "holds 7"),
        ({"size": "x", "A": [SQUARE]}, "found 'x'"),
        ([SQUARE], "holds [[[2, 3]"),
    ],
)
def test_an_object_that_is_no_outline_is_a_fault_of_its_image(folder, record, found):
    folder.files("x/p1/s1/v.png", "x/p2/s1/v.png")
    folder.write("o.json", {"p1_s1_v": record, "p2_s1_v": {"size": [20, 30], "A": [SQUARE]}})
    error = fault(folder, outlines())
    assert found in error.found and "o.json image p1_s1_v" in error.where
    assert folder.read(outlines(), skip=True).images == ["x/p2/s1/v.png"]
    folder.write("o.json", [record])
    assert "contains a list" in fault(folder, outlines()).found


def findings(task: str = "detection", **options):
    keys = {"image_key": "id", "findings_key": "findings", "labels_key": "labels", "boxes_key": "boxes"}
    options = keys | {"box_layout": "xyxy", "reference_size": "unit", "present_key": "found"} | options
    tree = {"kind of a": {"parents": ["a"]}, "elsewhere": {}}
    classes = [{"name": "A", "sources": ["a"]}, {"name": "B", "sources": ["b"]}]
    return make_card("findings_json", classes, task, file="f.json", options=options, tree=tree)


def test_findings_hold_labels_and_boxes(folder):
    folder.files("1.png", "2.png", "3.png")
    folder.write(
        "f.json",
        [
            {"id": "1.png", "findings": [{"found": True, "labels": ["kind of a"], "boxes": [[0.1, 0.2, 0.5, 0.6]]}]},
            {"id": "2.png", "findings": [{"found": False}, {"found": True, "labels": ["b", "elsewhere"]}]},
            {"id": "3.png", "findings": None},
        ],
    )
    boxes, labels = folder.read(findings(absent="negative")), folder.read(findings("classification"))
    assert str(boxes.labels.tolist()) == "[[1.0, 0.0], [0.0, nan], [0.0, 0.0]]"  # b is there, but nobody marked it
    assert str(labels.labels.tolist()) == "[[1.0, nan], [nan, 1.0], [nan, nan]]"
    np.testing.assert_allclose(boxes.targets[0].boxes, [[0.1, 0.2, 0.5, 0.6]], rtol=1e-6)
    assert boxes.sizes["1.png"][:2] == (1, 1)


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"id": "1.png", "findings": [{"found": True, "labels": ["c"]}]}, "'c' is not a class"),
        ({"id": "1.png", "findings": [{"found": True, "labels": ["a"], "boxes": [[5, 5, 9, 9]]}]}, "beyond its image"),
        ({"id": "1.png", "findings": {"found": True}}, "is {'found': True}"),
        ({"id": "1.png", "findings": ["a"]}, "a finding is a"),
        ({"findings": []}, "id is None"),
        (["1.png"], "id is None"),
    ],
)
def test_a_finding_that_cannot_be_read_is_a_fault_of_its_record(folder, record, found):
    folder.files("1.png")
    folder.write("f.json", [record])
    error = fault(folder, findings())
    assert found in error.found and error.where.startswith("f.json record 1")
    folder.write("f.json", {"1.png": record})
    assert "contains a dict" in fault(folder, findings()).found


def split_card(**splits):
    options = {"image_column": "file", "findings_column": "found"}
    return make_card("findings_csv", ["A"], file="labels.csv", options=options, splits=splits)


def test_another_table_names_the_split_of_an_image(folder):
    folder.files("a.png", "b.png", "c.png", "d.png")
    folder.write("labels.csv", "file,found,side\na.png,A,1\nb.png,A,0\nc.png,A,\nd.png,A,0\n")
    folder.write("master.csv", "id,label,part\na,x,train\na,y,train\nb,x,test\nd,x,none\n")
    table = {"file": "master.csv", "image_column": "id", "value_column": "part", "image_value": "{image_stem}"}
    splits = {"table": table, "values": {"train": ["train"], "test": ["test"]}, "unassigned": ["none"]}
    assert folder.read(split_card(**splits)).splits == [Split.TRAIN, Split.TEST, None, None]
    error = fault(folder, split_card(**splits | {"unassigned": []}))
    assert error.found == "part is 'none'"
    by_column = {"column": "side", "values": {"test": ["1"]}, "unassigned": ["0"]}
    assert folder.read(split_card(**by_column)).splits == [Split.TEST, None, None, None]
    folder.write("master.csv", "id,part\na,train\na,test\n")
    assert "a is in 'test', but an earlier row gives 'train'" in fault(folder, split_card(**splits)).found
    with pytest.raises(ValidationError, match="exactly one of column, pattern, table"):
        split_card(**splits | {"column": "side"})


def test_an_image_of_two_patients_counts_for_the_first_if_the_card_says_so(folder):
    folder.files("a.png")
    folder.write("labels.csv", "file,found\na.png,A\n")
    folder.write("who.csv", "image,patient\na.png,p1\na.png,p2\n")
    options = {"image_column": "file", "findings_column": "found"}
    table = {"file": "who.csv", "image_column": "image", "value_column": "patient"}

    def card(**more):
        patient = {"tables": [table | more]}
        return make_card("findings_csv", ["A"], file="labels.csv", options=options, patient=patient)

    assert "a.png has the patient p2" in fault(folder, card()).found
    assert folder.read(card(repeated="first")).patients == ["tiny:p1"]
