"""Readers of boxes with labels of their own: projects of md.ai, and a table of boxes for every image."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.reader_cards import Folder, fault, make_card


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


IMAGE = {"StudyInstanceUID": "s", "SeriesInstanceUID": "e", "SOPInstanceUID": "1.2"}
BOX = {"x": 1, "y": 2, "width": 3, "height": 4}
GROUPS = [
    {"name": "Agreed", "labels": [{"id": "L1", "name": "A "}, {"id": "L2", "name": "None"}]},
    {"name": "Team", "labels": [{"id": "L3", "name": "Whatever"}]},
]


def project(*annotations, groups=GROUPS):
    return {"labelGroups": groups, "datasets": [{"annotations": list(annotations)}]}


def mdai(task: str = "detection", **options):
    options = {"label_group": "Agreed", "absent": "negative", "other": ["None"]} | options
    return make_card("mdai_json", ["A", "B"], task, file="p.json", image_suffix=".png", options=options)


def marked(identifier: str = "L1", image: str = "1.2", **more):
    return IMAGE | {"SOPInstanceUID": image, "labelId": identifier, "data": None} | more


def test_a_project_gives_the_labels_of_one_group_and_unmarked_classes_are_unknown_to_detection(folder):
    folder.files("1.2.png", "1.3.png", "1.4.png", "1.5.png")
    team = marked("L3", "1.5", data={"vertices": [[1, 2]]})
    folder.write("p.json", project(marked(data=BOX), marked(image="1.3"), marked("L2", "1.4"), team))
    found = folder.read(mdai())
    assert found.images == ["1.2.png", "1.3.png", "1.4.png"], "the label of another group adds no image"
    assert str(found.labels.tolist()) == "[[1.0, 0.0], [nan, 0.0], [0.0, 0.0]]"
    assert found.targets[0].boxes.tolist() == [[1, 2, 4, 6]]
    assert str(folder.read(mdai("classification", absent="unknown")).labels.tolist()) == (
        "[[1.0, nan], [1.0, nan], [nan, nan]]"
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (project(marked("L9")), "labelId is 'L9'"),
        (project(marked(["L1"])), "labelId is ['L1']"),
        (project(marked(image=None)), "SOPInstanceUID is None"),
        (project(marked(image=3)), "SOPInstanceUID is 3"),
        (project(marked(data={"vertices": [[1, 2]]})), "data is {'vertices'"),
        (project(marked(data=BOX | {"width": 0})), "has no positive size"),
        (project(marked(data=BOX, height=4, width=20)), "extends beyond its image of 20 x 4"),
        (project(marked(height="5", width=20)), "height and width are '5' and 20"),
        (project(marked(height=True, width=True)), "height and width are True and True"),
        (project(marked(height=5, width=5), marked(height=6, width=6)), "are in several sizes"),
        (project(marked(), groups=GROUPS[1:]), "no group of labels 'Agreed'"),
        (project(marked(), groups=[{"name": "Agreed", "labels": [{"id": 1, "name": "A"}]}]), "has the id 1"),
        (project(marked(), groups=[{"name": "Agreed"}]), "labels is None"),
        ({"labelGroups": GROUPS, "datasets": {"annotations": []}}, "datasets is {'annotations'"),
        ({"labelGroups": GROUPS, "datasets": [{"annotations": ["L1"]}]}, "annotations is ['L1']"),
        ([], "contains a list"),
    ],
)
def test_what_is_no_project_of_mdai_is_said(folder, content, found):
    folder.files("1.2.png")
    folder.write("p.json", content)
    error = fault(folder, mdai())
    assert found in error.found and error.where.startswith("p.json")


def tables(task: str = "detection", **options):
    options = {
        "image_column": "file",
        "present_from": 3,
        "marks_file": "marks/{id}.csv",
        "box_columns": ["x1", "y1", "x2", "y2"],
        "box_layout": "xyxy",
        "certainty_column": "sure",
        "certain_from": 3,
    } | options
    return make_card("marked_tables", ["A", "B"], task, file="t.csv", options=options)


def test_certain_boxes_make_a_class_present_and_uncertain_ones_unknown(folder):
    folder.files("1.png", "2.png", "3.png", "4.png")
    folder.write("t.csv", "file,id,A,B\n1.png,one,5,4\n2.png,two,1,0\n3.png,three,0,0\n4.png,four,4,0\n")
    head = "x1,y1,x2,y2,sure,A,B\n"
    folder.write("marks/one.csv", f"{head}1,2,9,8,3,True,True\n2,2,5,5,2,True,False\n")
    folder.write("marks/two.csv", f"{head}1,1,4,4,2,1,0\n")  # three has no table: nothing was found in it
    folder.write("marks/four.csv", head)
    found = folder.read(tables())
    assert str(found.labels.tolist()) == "[[1.0, 1.0], [nan, 0.0], [0.0, 0.0], [nan, 0.0]]"
    one, two = found.targets[:2]
    assert one.boxes.tolist() == [[1, 2, 9, 8]] * 2 and one.box_classes.tolist() == [0, 1]
    assert one.ignored.tolist() == [[2, 2, 5, 5]] and one.ignored_classes.tolist() == [0]
    assert len(two) == 0 and two.ignored.tolist() == [[1, 1, 4, 4]]
    labels = folder.read(tables("classification")).labels
    np.testing.assert_array_equal(labels, [[1, 1], [np.nan, 0], [0, 0], [1, 0]])
    every = folder.read(tables(certainty_column=None))
    assert every.targets[1].boxes.tolist() == [[1, 1, 4, 4]]


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        (None, "there is no such file"),
        ("x1,y1,x2,y2,sure,A,B\n1,2,9,8,3,perhaps,0\n", "A is 'perhaps'"),
        ("x1,y1,x2,y2,sure,A,B\n1,2,9,8,very,1,0\n", "sure is 'very'"),
        ("x1,y1,x2,y2,sure,A,B\n9,2,1,8,3,1,0\n", "has no positive size"),
        ("x1,y1,x2,y2,sure,C\n1,2,9,8,3,1\n", "none of the columns 'A', 'B'"),
        ("x1,y1,x2,y2,A,B\n1,2,9,8,1,0\n", "no column 'sure'"),
    ],
)
def test_a_table_of_boxes_that_cannot_be_read_is_a_fault_of_its_image(folder, marks, found):
    folder.files("1.png", "2.png")
    folder.write("t.csv", "file,id,A,B\n1.png,one,5,0\n2.png,two,0,0\n")
    if marks is not None:
        folder.write("marks/one.csv", marks)
    assert found in fault(folder, tables()).found
    assert folder.read(tables(), skip=True).images == ["2.png"]


@pytest.mark.parametrize(
    ("identifier", "found"),
    [("../one", "leads out of"), ("/etc/passwd", "leads out of"), ("a\\b", "holds a backslash")],
)
def test_a_row_cannot_lead_to_tables_elsewhere(folder, identifier, found):
    folder.files("1.png")
    folder.write("t.csv", f"file,id,A,B\n1.png,{identifier},5,0\n")
    folder.write("one.csv", "x1,y1,x2,y2,sure,A,B\n1,2,9,8,3,1,0\n")
    assert found in fault(folder, tables()).found
