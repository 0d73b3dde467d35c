"""COCO as people write it: legal but odd files give what pycocotools reads in them, faulty ones are named."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from foundationx.core.types import Task
from foundationx.curation.check.objects import object_issues
from foundationx.tasks.definition import SourceImage
from foundationx.tasks.detection.target import checked
from foundationx.tasks.segmentation.target import draw
from tests.helpers.reader_cards import Folder, fault, make_card

H, W = 40, 60
SIZE = {"width": W, "height": H}
POLYGON = [10.2, 5, 30, 6.7, 28, 25, 12, 22]
OTHER = [40, 30, 50, 30, 50, 38]


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path)
    folder.files("a.png", "b.png", "c.png")
    return folder


def runs(packed: bool = True):
    mask = np.zeros((H, W), np.uint8)
    mask[3:20, 7:31] = 1
    coded = rle.encode(np.asfortranarray(mask))
    if packed:
        return {"size": [H, W], "counts": coded["counts"].decode()}
    flat = np.concatenate([[0], mask.ravel(order="F"), [0]])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    return {"size": [H, W], "counts": np.diff(np.concatenate([[0], ends, [H * W]])).tolist()}


def content():
    """A plain file: polygons, runs in both forms, an image without annotations."""
    return {
        "images": [{"id": 1, "file_name": "a.png"} | SIZE, {"id": 2, "file_name": "b.png"} | SIZE,
            {"id": 3, "file_name": "c.png"} | SIZE],
        "categories": [{"id": 1, "name": "Nodule"}, {"id": 2, "name": "Mass"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10.2, 5, 19.8, 20], "segmentation": [POLYGON, OTHER]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [7, 3, 24, 17], "segmentation": runs()},
            {"id": 3, "image_id": 2, "category_id": 2, "bbox": [7, 3, 24, 17], "segmentation": runs(packed=False)},
        ],
    }  # fmt: skip


def read(folder, value, task="segmentation", classes=("Nodule", "Mass")):
    folder.write("a.json", value)
    return folder.read(make_card("coco", classes, task, file="a.json"))


def masks(table):
    """Masks (N, K, H, W) of all images."""
    drawn = []
    for parts, labels in zip(table.targets, table.labels, strict=True):
        source = SourceImage("a.png", "row", (H, W), labels, lambda file: np.zeros((H, W), np.uint8))
        drawn.append(draw(parts, source).masks)
    return np.stack(drawn)


def of_pycocotools(value):
    """Masks (N, K, H, W) and boxes by image of a plain file, as pycocotools reads it."""
    coco = COCO()
    coco.dataset = copy.deepcopy(value)
    coco.createIndex()
    result, boxes = np.zeros((3, 2, H, W), np.uint8), [[], [], []]
    for annotation in coco.dataset["annotations"]:
        index, k = annotation["image_id"] - 1, annotation["category_id"] - 1
        result[index, k] |= coco.annToMask(annotation)
        x, y, w, h = annotation["bbox"]
        boxes[index].append([x, y, x + w, y + h])
    return result, boxes


def assert_as_pycocotools(folder, value, plain=None):
    """Masks, boxes and labels are those that pycocotools reads in the plain form of the file."""
    expected, boxes = of_pycocotools(plain or content())
    table = read(folder, value)
    np.testing.assert_array_equal(masks(table), expected)
    np.testing.assert_array_equal(table.labels, expected.any(axis=(2, 3)))
    found = read(folder, value, "detection")
    for target, of_image in zip(found.targets, boxes, strict=True):
        np.testing.assert_allclose(target.boxes.reshape(-1, 4), np.array(of_image).reshape(-1, 4), atol=1e-4)
    np.testing.assert_array_equal(read(folder, value, "classification").labels, expected.any(axis=(2, 3)))


def test_a_plain_file_is_read_as_by_pycocotools(folder):
    assert_as_pycocotools(folder, content())


def renamed(value, kind):
    """Ids written in another form."""
    forms = {
        "text": str,
        "float": float,
        "words": lambda number: f"id-{number}",
        "large": lambda number: number + 2**60,
        "zeros": lambda number: f"00{number}",
    }
    for record in [*value["images"], *value["categories"], *value["annotations"]]:
        for key in ("id", "image_id", "category_id"):
            if key in record:
                record[key] = forms[kind](record[key])
    return value


@pytest.mark.parametrize("kind", ["text", "float", "words", "large", "zeros"])
def test_ids_may_be_text_or_numbers(folder, kind):
    assert_as_pycocotools(folder, renamed(content(), kind))


def test_ids_may_be_text_in_one_list_and_numbers_in_another(folder):
    value = content()
    for annotation in value["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
        annotation["category_id"] = float(annotation["category_id"])
    assert_as_pycocotools(folder, value)


def odd(value, how):
    """One oddity that leaves the meaning as it is."""
    first = value["annotations"][0]
    if how == "float sizes":
        for image in value["images"]:
            image |= {"width": float(W), "height": float(H)}
        value["annotations"][1]["segmentation"]["size"] = [float(H), float(W)]
        value["annotations"][2]["segmentation"]["counts"] = [
            float(c) for c in value["annotations"][2]["segmentation"]["counts"]
        ]
    elif how == "no sizes":
        value["images"] = [{"id": i["id"], "file_name": i["file_name"]} for i in value["images"]]
    elif how == "sizes of 0":
        value["images"] = [i | {"width": 0, "height": 0} for i in value["images"]]
    elif how == "more keys":
        value |= {"info": {"year": 2020}, "licenses": [{"id": 1}], "videos": [], "type": "instances"}
        for number, record in enumerate([*value["images"], *value["annotations"], *value["categories"]]):
            record |= {"attributes": {"occluded": False}, "score": 0.5, "keypoints": None, "supercategory": number}
    elif how == "fewer keys":
        for annotation in value["annotations"]:
            for key in ("area", "iscrowd", "id"):
                annotation.pop(key, None)
    elif how == "not crowd":
        for number, annotation in enumerate(value["annotations"]):
            annotation["iscrowd"] = [0, False, None][number]
    elif how == "empty polygon":
        first["segmentation"] = [*first["segmentation"], []]
    elif how == "blanks":
        value["categories"][0]["name"] = " Nodule "
    elif how == "one name, two categories":
        value["categories"].append({"id": 7, "name": "Mass"})
        value["annotations"][2]["category_id"] = 7
    elif how == "closed polygons":
        first["segmentation"] = [line + line[:2] for line in first["segmentation"]]
    elif how == "order":
        value = {key: value[key][::-1] for key in ("annotations", "categories", "images")}
        value["images"].reverse()
        value["annotations"].sort(key=lambda a: a["id"])
    elif how == "text in boxes":
        first["bbox"] = ["10.2", "5", "19.8", "20"]
    return value


@pytest.mark.parametrize(
    "how",
    ["float sizes", "no sizes", "sizes of 0", "more keys", "fewer keys", "not crowd", "empty polygon", "blanks",
     "one name, two categories", "closed polygons", "order", "text in boxes"],
)  # fmt: skip
def test_legal_but_odd_files_say_the_same(folder, how):
    plain = content()
    assert_as_pycocotools(folder, odd(content(), how), plain)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_and_line_breaks_of_windows_say_nothing(folder, mark):
    text = json.dumps(content(), indent=1, ensure_ascii=False).replace("\n", "\r\n")
    encoding = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}[mark]
    (folder.path / "a.json").write_bytes(mark + text.encode(encoding))
    table = folder.read(make_card("coco", ["Nodule", "Mass"], "segmentation", file="a.json"))
    np.testing.assert_array_equal(masks(table), of_pycocotools(content())[0])


@pytest.mark.parametrize("missing", [None, [], "absent"])
def test_a_missing_box_is_the_bounds_of_the_outlines(folder, missing):
    value = content()
    for annotation in value["annotations"]:
        annotation["bbox"] = missing
        if missing == "absent":
            del annotation["bbox"]
    table = read(folder, value, "detection")
    first, second, third = [*table.targets[0].boxes, *table.targets[1].boxes]
    np.testing.assert_allclose(first, [10.2, 5, 50, 38], rtol=1e-6)
    x, y, w, h = rle.toBbox(rle.encode(np.asfortranarray(of_pycocotools(content())[0][0, 1])))
    assert second.tolist() == third.tolist() == [x, y, x + w, y + h]
    np.testing.assert_array_equal(masks(read(folder, value)), of_pycocotools(content())[0])
    np.testing.assert_array_equal(read(folder, value, "classification").labels, [[1, 1], [0, 1], [0, 0]])


def test_neither_box_nor_outline_is_a_fault_of_detection_alone(folder):
    value = content()
    value["annotations"][0] |= {"bbox": None, "segmentation": None}
    folder.write("a.json", value)
    error = fault(folder, make_card("coco", ["Nodule", "Mass"], "detection", file="a.json"))
    assert (error.where, error.found) == ("a.json annotation 1", "has neither a box nor an outline")
    np.testing.assert_array_equal(read(folder, value, "classification").labels, [[1, 1], [0, 1], [0, 0]])
    np.testing.assert_array_equal(read(folder, value).labels, [[math.nan, 1], [0, 1], [0, 0]])


def test_a_polygon_without_its_list_is_read(folder):
    value = content()
    value["annotations"][0]["segmentation"] = POLYGON
    plain = content()
    plain["annotations"][0]["segmentation"] = [POLYGON]
    np.testing.assert_array_equal(masks(read(folder, value)), of_pycocotools(plain)[0])


# ---- faults


@pytest.mark.parametrize("same_name", [False, True])
def test_a_category_id_that_stands_twice_is_named(folder, same_name):
    """Two files were merged without numbering their categories anew: boxes of one would bear the name of the other."""
    value = content()
    value["categories"].append({"id": 1, "name": "Nodule" if same_name else "Mass"})
    folder.write("a.json", value)
    for task in ("detection", "segmentation", "classification"):
        error = fault(folder, make_card("coco", ["Nodule", "Mass"], task, file="a.json"))
        assert (error.where, error.found) == ("a.json category 1", "the id is repeated")


@pytest.mark.parametrize("other", [1, "1", 1.0])
def test_an_annotation_id_that_stands_twice_is_a_fault_of_both_images(folder, other):
    value = content()
    value["annotations"][2]["id"] = other
    folder.write("a.json", value)
    card = make_card("coco", ["Nodule", "Mass"], "detection", file="a.json")
    assert fault(folder, card).found == "the id is repeated"
    table = folder.read(card, skip=True)
    assert table.images == ["c.png"]
    assert [entry.reason for entry in table.bad] == ["the id is repeated"] * 2


def test_an_image_id_and_an_image_that_stand_twice_are_named(folder):
    value = content()
    value["images"].append({"id": "2", "file_name": "d.png"})
    folder.write("a.json", value)
    card = make_card("coco", ["Nodule", "Mass"], "detection", file="a.json")
    assert fault(folder, card).where == "a.json image 2"
    value["images"][-1] = {"id": 4, "file_name": "b.png"}
    folder.write("a.json", value)
    assert "b.png is repeated" in fault(folder, card).found


@pytest.mark.parametrize("bad", [None, True, [], {}, "", 1.5])
@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_an_id_that_is_none_is_named(folder, key, bad):
    value = content()
    value["annotations"][1][key] = bad
    folder.write("a.json", value)
    error = fault(folder, make_card("coco", ["Nodule", "Mass"], "detection", file="a.json"))
    assert error.where == "a.json annotation 2" and error.found == f"{key} is {bad!r}"


@pytest.mark.parametrize("size", [{"width": -5, "height": 7}, {"width": 0, "height": 7}])
def test_a_size_that_is_none_is_named(folder, size):
    value = content()
    value["images"][0] |= size
    folder.write("a.json", value)
    assert "width and height" in fault(folder, make_card("coco", ["Nodule", "Mass"], "detection", file="a.json")).found


def test_an_object_listed_twice_counts_once_and_is_told(folder):
    """A perfect detector would miss the second one: AP 0.5."""
    value = content()
    value["annotations"] += [
        value["annotations"][0] | {"id": 9},
        value["annotations"][0] | {"id": 10, "category_id": 2},
    ]
    table = read(folder, value, "detection")
    (issue,) = object_issues(table)
    assert (issue.file, issue.severity.value) == ("a.png", "warning")
    assert "Nodule is listed twice with the box [10.2, 5.0, 30.0, 25.0]" in issue.found
    source = SourceImage("a.png", "row", (H, W), table.labels[0], lambda file: np.zeros((H, W), np.uint8))
    target = checked(table.targets[0], source)
    assert target.box_classes.tolist() == [0, 1, 1]
    assert list(object_issues(read(folder, content(), "detection"))) == []
    assert list(object_issues(read(folder, value, "segmentation"))) == []
    assert Task("detection").facts.count(table.targets[0]) == 4  # as published: counts are compared with the card
