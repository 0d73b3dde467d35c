"""What each reader makes of small files whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foundationx.core.types import Split, Task
from foundationx.datasets.annotations import READERS
from foundationx.tasks.detection.target import Boxes
from tests.helpers.reader_cards import Folder, make_card

NAN = math.nan


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def assert_labels(found: np.ndarray, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


FINDINGS = {"image_column": "file", "findings_column": "found", "negative": ["No Finding"], "unknown": ["todo"]}


def test_the_readers_are_the_files_of_their_folder():
    expected = {"findings_csv", "label_columns_csv", "coco", "mask_folder", "mask_table", "class_folders"}
    assert expected | {"chestx_det", "bbox_csv"} <= set(READERS.names())


def test_findings_are_present_absent_or_unknown(folder):
    folder.files("a.png", "b.png", "c.png", "d.png")
    folder.write("f.csv", "file,found\na.png,Mass|Hernia\nb.png,No Finding\nc.png,todo\nd.png,Other | Mass\n")
    card = make_card("findings_csv", ["Mass", "Hernia"], file="f.csv", options=FINDINGS | {"ignore": ["Other"]})
    result = folder.read(card)
    assert_labels(result.labels, [[1, 1], [0, 0], [NAN, NAN], [1, 0]])
    assert result.labels.dtype == np.float32
    assert result.rows[3] == "f.csv row 5"
    assert result.patients[0] == "tiny:a.png"
    assert result.targets == []


def test_a_byte_order_mark_spaces_and_crlf_do_no_harm(folder):
    folder.files("a.png")
    (folder.path / "f.csv").write_bytes(b"\xef\xbb\xbffile , found\r\na.png , Mass \r\n\r\n")
    result = folder.read(make_card("findings_csv", ["Mass"], file="f.csv", options=FINDINGS))
    assert result.images == ["a.png"]
    assert_labels(result.labels, [[1]])


def test_a_cell_may_hold_commas_and_lines(folder):
    folder.files("a.png", "b.png")
    folder.write("f.csv", 'file,note,found\na.png,"one, two\nthree",Mass\nb.png,,No Finding\n')
    result = folder.read(make_card("findings_csv", ["Mass"], file="f.csv", options=FINDINGS))
    assert result.rows == ["f.csv row 3", "f.csv row 4"]  # the line on which the row ends
    assert_labels(result.labels, [[1], [0]])


def test_images_have_a_folder_and_a_suffix(folder):
    folder.files("images/p1/a.png")
    folder.write("f.csv", "file,found\np1/a,Mass\n")
    card = make_card("findings_csv", ["Mass"], file="f.csv", images="images", image_suffix=".png", options=FINDINGS)
    assert folder.read(card).images == ["images/p1/a.png"]


@pytest.mark.parametrize(
    ("policy", "blank", "expected"),
    [
        ("ignore", "unknown", [1, 0, NAN, NAN, 0.25]),
        ("zeros", "negative", [1, 0, 0, 0, 0.25]),
        ("ones", "unknown", [1, 0, 1, NAN, 0.25]),
    ],
)
def test_label_columns(folder, policy, blank, expected):
    folder.files("a.png")
    folder.write("f.csv", "E,A,path,B,C,extra,D\n0.25,1.0,a.png,0,-1.0,x,\n")
    card = make_card(
        "label_columns_csv",
        ["A", "B", {"name": "Cee", "sources": ["C"]}, "D", "E"],
        file="f.csv",
        options={"image_column": "path", "uncertain": policy, "blank": blank},
    )
    assert_labels(folder.read(card).labels, [expected])


def test_soft_labels_are_drawn_once_for_image_and_class(folder):
    folder.files(*(f"{i}.png" for i in range(300)))
    rows = [f"{i}.png,-1,-1" for i in range(300)]
    card = make_card(
        "label_columns_csv", ["A", "B"], file="f.csv", options={"image_column": "path", "uncertain": "lsr_ones"}
    )
    folder.write("f.csv", "\n".join(["path,A,B", *rows]))
    first = folder.read(card).labels
    folder.write("f.csv", "\n".join(["path,A,B", *rows[::-1]]))
    assert_labels(folder.read(card).labels[::-1], first)
    assert first.min() >= 0.55
    assert first.max() <= 0.85
    assert abs(first.mean() - 0.7) < 0.01
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.2


def coco(annotations: list[dict], images: list[dict] | None = None) -> dict:
    return {
        "images": images or [{"id": 7, "file_name": "a.png", "width": 100, "height": 50}],
        "categories": [{"id": 3, "name": "Nodule"}, {"id": 1, "name": "Mass"}, {"id": 2, "name": "Other"}],
        "annotations": [{"id": i, "image_id": 7, **annotation} for i, annotation in enumerate(annotations, start=1)],
    }


def coco_card(task: str = "detection", **further):
    options = {"ignore": ["Other"]}
    return make_card("coco", ["Mass", "Nodule"], task, file="f.json", options=options, **further)


def test_coco_boxes_become_corners_and_classes_go_by_name(folder):
    folder.files("a.png", "b.png", "c.png")
    images = [{"id": 9, "file_name": "b.png"}, {"id": 7, "file_name": "a.png", "width": 100, "height": 50}]
    boxes = [
        {"category_id": 3, "bbox": [10, 20, 30, 5.5]},
        {"category_id": 3, "bbox": [-0.5, 0, 101, 50.9], "iscrowd": 0},
        {"category_id": 2, "bbox": [0, 0, 1, 1]},
    ]
    folder.write("f.json", coco(boxes, images))
    result = folder.read(coco_card())
    assert result.images == ["b.png", "a.png"]  # c.png is not listed: unannotated
    assert_labels(result.labels, [[0, 0], [0, 1]])  # b.png is listed without a box: a known negative
    assert result.targets[0].boxes.shape == (0, 4)
    np.testing.assert_allclose(result.targets[1].boxes, [[10, 20, 40, 25.5], [-0.5, 0, 100.5, 50.9]])
    assert result.targets[1].box_classes.tolist() == [1, 1]
    assert result.targets[1].box_classes.dtype == np.int64


def test_a_crowd_region_alone_means_neither_present_nor_absent(folder):
    folder.files("a.png")
    crowd = {"category_id": 3, "bbox": [0, 0, 50, 50], "iscrowd": 1}
    folder.write("f.json", coco([crowd]))
    assert_labels(folder.read(coco_card()).labels, [[0, NAN]])
    folder.write("f.json", coco([{"category_id": 3, "bbox": [1, 1, 5, 5]}, crowd]))
    result = folder.read(coco_card())
    assert_labels(result.labels, [[0, 1]])
    assert len(result.targets[0].boxes) == 1


def test_coco_polygons(folder):
    folder.files("a.png")
    outlined = {"category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6], [2, 2, 3, 2, 3, 3, 2, 3]]}
    folder.write("f.json", coco([outlined, {"category_id": 3, "bbox": [1, 1, 5, 5], "segmentation": []}]))
    result = folder.read(coco_card("segmentation"))
    assert_labels(result.labels, [[1, NAN]])  # the nodule is boxed, but nobody drew its outline
    assert [part.class_index for part in result.targets[0]] == [0, 0]
    assert result.targets[0][0].polygon.tolist() == [[1, 1], [6, 1], [6, 6]]
    assert result.targets[0][1].polygon.shape == (4, 2)
    assert not hasattr(result.targets[0], "boxes")


def test_patient_and_split_stand_in_the_record_of_the_image(folder):
    folder.files("a.png", "b.png")
    images = [
        {"id": 7, "file_name": "a.png", "patient": 12, "part": "hold-out"},
        {"id": 8, "file_name": "b.png", "patient": "p3", "part": None},
    ]
    folder.write("f.json", coco([], images))
    splits = {"column": "part", "values": {"test": ["hold-out"]}}
    result = folder.read(coco_card(patient={"column": "patient", "namespace": "n"}, splits=splits))
    assert result.patients == ["n:12", "n:p3"]
    assert result.splits == [Split.TEST, None]


CHESTX = [
    {
        "file_name": "a.png",
        "syms": ["Mass", "Mass", "Other"],
        "boxes": [[1, 2, 30, 40], [5, 5, 9, 9], [0, 0, 1, 1]],
        "polygons": [[[1, 2], [30, 2], [30, 40]], [[5, 5], [9, 5], [9, 9], [5, 9]], []],
    },
    {"file_name": "b.png", "syms": [], "boxes": [], "polygons": []},
]


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION])
def test_chestx_det(folder, task):
    folder.files("a.png", "b.png")
    folder.write("f.json", CHESTX)
    card = make_card("chestx_det", ["Nodule", "Mass"], task.value, file="f.json", options={"ignore": ["Other"]})
    result = folder.read(card)
    assert_labels(result.labels, [[0, 1], [0, 0]])
    kinds = {Task.CLASSIFICATION: set(), Task.DETECTION: {Boxes}, Task.SEGMENTATION: {tuple}}
    assert {type(target) for target in result.targets} == kinds[task]
    if task is Task.DETECTION:
        assert result.targets[0].boxes.tolist() == [[1, 2, 30, 40], [5, 5, 9, 9]]
        assert result.targets[0].box_classes.tolist() == [1, 1]
    if task is Task.SEGMENTATION:
        assert [len(part.polygon) for part in result.targets[0]] == [3, 4]
        assert result.targets[1] == ()


BBOX = {"image_column": "Image Index", "class_column": "Finding Label", "box_columns": ["Bbox [x", "y", "w", "h]"]}


def test_a_list_of_boxes_leaves_unboxed_classes_unknown(folder):
    folder.files("a.png", "b.png", "c.png")
    folder.write(
        "f.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "a.png,Mass,1.5,2,10,20\nb.png,Nodule,0,0,5,5,,,\na.png,Nodule,3,3,4,4\n",
    )
    card = make_card("bbox_csv", ["Mass", "Nodule"], "detection", file="f.csv", options=BBOX | {"box_layout": "xywh"})
    result = folder.read(card)
    assert result.images == ["a.png", "b.png"]
    assert_labels(result.labels, [[1, 1], [NAN, 1]])
    assert result.targets[0].boxes.tolist() == [[1.5, 2, 11.5, 22], [3, 3, 7, 7]]
    assert result.targets[0].box_classes.tolist() == [0, 1]


def test_a_mask_that_is_missing_is_not_an_empty_mask(folder):
    folder.files("images/a.jpg", "images/b.jpg", "images/c.jpg", "m/left/a_mask.png", "m/right/a_mask.png")
    folder.files("m/right/b_mask.png", "m/right/.hidden")
    options = {"folders": {"left": "m/left", "right": "m/right"}, "mask_name": "{image_stem}_mask.png", "positive": 255}
    classes = [{"name": "Right Lung", "sources": ["right"]}, {"name": "Left Lung", "sources": ["left"]}]
    result = folder.read(make_card("mask_folder", classes, "segmentation", images="images", options=options))
    assert result.images == ["images/a.jpg", "images/b.jpg"]  # c.jpg has no mask at all
    assert_labels(result.labels, [[1, 1], [1, NAN]])
    assert {(part.class_index, part.file) for part in result.targets[0]} == {
        (0, "m/right/a_mask.png"),
        (1, "m/left/a_mask.png"),
    }
    assert {(part.positive, part.ignore) for parts in result.targets for part in parts} == {(255, None)}


@pytest.mark.parametrize(("absent", "value"), [("unknown", NAN), ("negative", 0)])
def test_a_table_of_masks(folder, absent, value):
    folder.files("a.png", "b.png", "m/1.png", "m/2.png", "m/3.png")
    folder.write("f.csv", "image,kind,mask\na.png,Lung,m/1.png\nb.png,Lung,m/2.png\na.png,Tube,m/3.png\n")
    options = {"image_column": "image", "class_column": "kind", "mask_column": "mask", "absent": absent, "ignore": 127}
    result = folder.read(make_card("mask_table", ["Tube", "Lung"], "segmentation", file="f.csv", options=options))
    assert_labels(result.labels, [[1, 1], [value, 1]])
    assert [(part.class_index, part.file, part.ignore) for part in result.targets[0]] == [
        (1, "m/1.png", 127),
        (0, "m/3.png", 127),
    ]


def test_folders_are_classes(folder):
    folder.files("x/B/1.png", "x/A/3.png", "x/A/2.png", "x/NORMAL/4.png", "x/skip/5.png", "x/A/.DS_Store")
    options = {"negative": ["NORMAL"], "ignore": ["skip"]}
    result = folder.read(make_card("class_folders", ["B", "A"], images="x", options=options))
    assert result.images == ["x/A/2.png", "x/A/3.png", "x/B/1.png", "x/NORMAL/4.png"]
    assert_labels(result.labels, [[0, 1], [0, 1], [1, 0], [0, 0]])


def findings_folder(folder: Folder, **card):
    folder.files("00000012_003.png", "00000012_004.png", "00000007_000.png")
    folder.write("f.csv", "file,found\n00000012_003.png,Mass\n00000012_004.png,Mass\n00000007_000.png,No Finding\n")
    return make_card("findings_csv", ["Mass"], file="f.csv", options=FINDINGS, **card)


def test_the_patient_in_the_name_of_the_file(folder):
    card = findings_folder(folder, patient={"pattern": r"^0*(\d+)_", "namespace": "nih"})
    assert folder.read(card).patients == ["nih:12", "nih:12", "nih:7"]


def test_the_patient_in_a_table_beside_the_dataset(folder):
    card = findings_folder(
        folder,
        patient={
            "tables": [
                {
                    "file": "../index.csv",
                    "image_column": "image",
                    "value_column": "who",
                    "image_value": "set/{image_stem}",
                }
            ],
            "namespaces": {"nih": "nih(.+)"},
        },
    )
    rows = "image,who\nset/00000012_003,nih12\nset/00000012_004,nih12\nset/00000007_000,q\n"
    (folder.data_root / "index.csv").write_text(rows)
    assert folder.read(card).patients == ["nih:12", "nih:12", "tiny:q"]


def test_lists_of_the_official_split(folder):
    folder.write("test.txt", "00000007_000.png\n")
    folder.write("train.txt", "00000012_003.png\n\nnot_here.png\n")
    card = findings_folder(folder, splits={"lists": {"test": "test.txt", "train": "train.txt"}})
    assert folder.read(card).splits == [Split.TRAIN, None, Split.TEST]
