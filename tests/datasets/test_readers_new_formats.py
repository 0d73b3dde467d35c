"""Joined, packed and headerless tables, several files a task, several readers, repeated rows, names as labels."""

from __future__ import annotations

import gzip
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import CardError
from foundationx.core.types import Split
from foundationx.datasets.readers._agreement import agreed_boxes, agreed_labels
from tests.helpers.reader_cards import Folder, fault, make_card

NAN = math.nan


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def assert_labels(found: np.ndarray, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


def pack(folder: Folder, name: str, text: str) -> None:
    (folder.path / name).write_bytes(gzip.compress(text.encode()))


def joined_card(missing: str = "error", **further):
    """MIMIC: images in one table, labels by study in another, sides in a third."""
    return make_card(
        "label_columns_csv",
        ["Edema"],
        file="images.csv.gz",
        join=[
            {"file": "labels.csv.gz", "on": ["subject", "study"], "missing": missing},
            {"file": "sides.csv", "on": ["dicom"]},
        ],
        image_path="p{subject:.2}/{subject}/s{study}/{dicom}",
        image_suffix=".jpg",
        options={"image_column": "dicom"},
        patient={"column": "subject"},
        splits={"column": "side", "values": {"train": ["train"], "test": ["test"]}},
        **further,
    )


def write_joined(folder: Folder, labels: str = "1001,5,1.0\n1002,6,0.0\n1001,7,-1.0\n") -> None:
    folder.files("p10/1001/s5/a.jpg", "p10/1001/s5/b.jpg", "p10/1002/s6/c.jpg")
    pack(folder, "images.csv.gz", "dicom,subject,study\na,1001,5\nc,1002,6\nb,1001,5\n")
    pack(folder, "labels.csv.gz", "subject,study,Edema\n" + labels)
    folder.write("sides.csv", "dicom,side\nc,test\nb,train\na,train\n")


def test_joined_tables_give_labels_splits_and_paths(folder):
    write_joined(folder)
    result = folder.read(joined_card())
    assert result.images == ["p10/1001/s5/a.jpg", "p10/1002/s6/c.jpg", "p10/1001/s5/b.jpg"]
    assert result.patients == ["tiny:1001", "tiny:1002", "tiny:1001"]
    assert result.splits == [Split.TRAIN, Split.TEST, Split.TRAIN]
    assert result.rows == ["images.csv.gz row 2", "images.csv.gz row 3", "images.csv.gz row 4"]
    assert_labels(result.labels, [[1], [0], [1]])


def test_a_row_without_partner_is_a_fault_or_left_out(folder):
    write_joined(folder, "1001,5,1.0\n")
    error = fault(folder, joined_card())
    assert error.where == "images.csv.gz row 3"
    assert error.found == "labels.csv.gz has no row with subject '1002', study '6'"
    assert folder.read(joined_card("leave_out")).images == ["p10/1001/s5/a.jpg", "p10/1001/s5/b.jpg"]


def test_two_partners_are_a_fault(folder):
    write_joined(folder, "1001,5,1.0\n1002,6,0.0\n1001,5,0.0\n")
    error = fault(folder, joined_card())
    assert error.where == "labels.csv.gz row 4" and "first in row 2" in error.found


def test_an_empty_column_of_the_path_names_its_row(folder):
    write_joined(folder)
    pack(folder, "images.csv.gz", "dicom,subject,study\na,1001,5\n,1002,6\nb,1001,5\n")
    folder.write("sides.csv", "dicom,side\n,test\nb,train\na,train\n")
    error = fault(folder, joined_card())
    assert error.where == "images.csv.gz row 3" and error.found == "the column 'dicom' is empty"


@pytest.mark.parametrize("keep", [10, -4])
def test_a_torn_packed_file_is_no_complete_gzip_file(folder, keep):
    write_joined(folder)
    path = folder.path / "labels.csv.gz"
    path.write_bytes(path.read_bytes()[:keep])
    error = fault(folder, joined_card())
    assert error.where == "labels.csv.gz" and "not a complete gzip file" in error.found


def test_several_files_per_task_each_with_its_folder_and_split(folder):
    folder.files("train/a.png", "val/a.png", "val/b.png")
    folder.write("train.csv", "file,Mass\na.png,1\n")
    folder.write("val.csv", "file,Mass\na.png,0\nb.png,1\n")
    parts = [{"file": f"{side}.csv", "images": side, "split": side} for side in ("train", "val")]
    card = make_card("label_columns_csv", ["Mass"], parts=parts, options={"image_column": "file"})
    result = folder.read(card)
    assert result.images == ["train/a.png", "val/a.png", "val/b.png"]
    assert result.splits == [Split.TRAIN, Split.VAL, Split.VAL]
    assert_labels(result.labels, [[1], [0], [1]])
    folder.write("val.csv", "file,Mass\na.png,x\nb.png,1\n")
    assert fault(folder, card).where == "val.csv row 2"


def test_folders_by_pattern(folder):
    folder.files("images_001/images/a.png", "images_012/images/b.png")
    folder.write("f.csv", "file,found\nb.png,Mass\na.png,No Finding\n")
    options = {"image_column": "file", "findings_column": "found", "negative": ["No Finding"]}
    card = make_card("findings_csv", ["Mass"], file="f.csv", images="images_*/images", options=options)
    assert folder.read(card).images == ["images_012/images/b.png", "images_001/images/a.png"]
    folder.files("images_001/images/b.png")
    error = fault(folder, card)
    assert error.where == "f.csv row 2" and "b.png is in several of" in error.found


def test_repeated_rows_must_say_the_same(folder):
    folder.files("a.png", "b.png")
    folder.write("f.csv", "file,found\na.png,Mass\nb.png,Normal\na.png,Mass\n")
    options = {"image_column": "file", "findings_column": "found", "negative": ["Normal"], "repeated": "same"}
    card = make_card("findings_csv", ["Mass"], file="f.csv", options=options)
    assert_labels(folder.read(card).labels, [[1], [0]])
    folder.write("f.csv", "file,found\na.png,Mass\nb.png,Normal\na.png,Normal\n")
    error = fault(folder, card)
    assert error.where == "f.csv row 4" and "first in f.csv row 2" in error.found


def test_lists_as_python_writes_them(folder):
    folder.files("a.png", "b.png", "c.png")
    folder.write("f.csv", "file,found\na.png,\"['mass', ' hernia ', 'odd']\"\nb.png,['normal']\nc.png,[]\n")
    options = {"image_column": "file", "findings_column": "found", "separator": ",", "trim": "[]'"}
    options |= {"negative": ["normal"], "unlisted": "ignore", "blank": "unknown"}
    card = make_card("findings_csv", ["mass", "hernia"], file="f.csv", options=options)
    assert_labels(folder.read(card).labels, [[1, 1], [0, 0], [NAN, NAN]])


def test_cells_apart_by_spaces_without_header(folder):
    folder.files("a.png", "b.png")
    folder.write("train.txt", "p1 a.png  positive x\np2\tb.png negative x\n")
    card = make_card(
        "findings_csv",
        [{"name": "COVID-19", "sources": ["positive"]}],
        file="train.txt",
        table={"delimiter": "whitespace", "header": ["who", "file", "label", "source"]},
        options={"image_column": "file", "findings_column": "label", "negative": ["negative"]},
        patient={"column": "who"},
    )
    result = folder.read(card)
    assert_labels(result.labels, [[1], [0]])
    assert result.patients == ["tiny:p1", "tiny:p2"] and result.rows == ["train.txt row 1", "train.txt row 2"]
    folder.write("train.txt", "p1 a.png positive x\np2 b.png\n")
    error = fault(folder, card)
    assert error.where == "train.txt row 2" and error.found == "has 2 cells"


def test_labels_in_names(folder):
    folder.files("x/CHN_0001_1.png", "x/CHN_0002_0.png", "x/CHN_0003_9.png", "x/Thumbs.db")
    options = {"pattern": "_([0-9])[.]png$", "negative": ["0"], "unknown": ["9"], "ignore": "Thumbs[.]db"}
    card = make_card("name_pattern", [{"name": "TB", "sources": ["1"]}], images="x", options=options)
    assert_labels(folder.read(card).labels, [[1], [0], [NAN]])
    folder.files("x/CHN_0004_7.png")
    error = fault(folder, card)
    assert error.where == "x/CHN_0004_7.png" and "'7' is not a class" in error.found


READERS = ("R1", "R2", "R3")


@pytest.mark.parametrize("agreement", ["any", "majority", "all"])
def test_labels_of_three_readers_by_every_vote(folder, agreement):
    needed = {"any": 1, "majority": 2, "all": 3}[agreement]
    cases = list(itertools.product("01", repeat=3))
    names = ["".join(case) for case in cases]
    folder.files(*names)
    rows = [f"{name},{who},{vote}" for name in names for who, vote in zip(READERS, name, strict=True)]
    folder.write("f.csv", "\n".join(["image,who,Mass", *rows[::-1]]))
    options = {"image_column": "image", "reader_column": "who", "agreement": agreement}
    result = folder.read(make_card("label_columns_csv", ["Mass"], file="f.csv", options=options))
    by_image = dict(zip(result.images, result.labels[:, 0].tolist(), strict=True))
    for name in names:
        votes = name.count("1")
        assert by_image[name] == pytest.approx(1 if votes >= needed else 0 if votes == 0 else NAN, nan_ok=True)


@settings(deadline=None, max_examples=100)
@given(
    votes=st.lists(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=2, max_size=2), min_size=1, max_size=5),
    agreement=st.sampled_from(["any", "majority", "all"]),
)
def test_agreement_counts_only_those_who_know(votes, agreement):
    result = agreed_labels(np.array(votes, dtype=np.float32), agreement)
    for k in range(2):
        known = [vote[k] for vote in votes if not math.isnan(vote[k])]
        output = sum(known)
        enough = {"any": output >= 1, "majority": output > len(known) / 2, "all": output == len(known)}[agreement]
        expected = NAN if not known or (output and not enough) else float(enough and output > 0)
        np.testing.assert_equal(result[k], np.float32(expected))


def test_a_reader_who_stands_twice_is_a_fault(folder):
    folder.files("a")
    folder.write("f.csv", "image,who,Mass\na,R1,1\na,R2,1\na,R1,0\n")
    options = {"image_column": "image", "reader_column": "who"}
    error = fault(folder, make_card("label_columns_csv", ["Mass"], file="f.csv", options=options))
    assert error.where == "f.csv row 4" and "repeated for R1" in error.found


def boxes_card(**options):
    columns = {"image_column": "image", "class_column": "kind", "box_columns": ["x1", "y1", "x2", "y2"]}
    columns |= {"box_layout": "xyxy", "reader_column": "who", "empty_column": "kind", "empty_values": ["none"]}
    return make_card(
        "bbox_csv", ["Mass", "Rib"], "detection", file="f.csv", options=columns | {"absent": "negative"} | options
    )


def test_boxes_of_three_readers(folder):
    folder.files("a", "b")
    folder.write(
        "f.csv",
        "image,who,kind,x1,y1,x2,y2\n"
        "a,R1,Mass,0,0,10,10\na,R2,Mass,2,0,12,10\na,R3,none,,,,\n"  # two of three, overlap 80 / 120
        "a,R1,Rib,30,30,40,40\n"  # one of three: disputed
        "b,R1,none,,,,\nb,R2,none,,,,\nb,R3,none,,,,\n",
    )
    with_one = "a,R1,none,,,,\n"
    result = folder.read(boxes_card())
    np.testing.assert_allclose(result.targets[0].boxes, [[1, 0, 11, 10]])
    assert result.targets[0].box_classes.tolist() == [0]
    assert_labels(result.labels, [[1, NAN], [0, 0]])
    assert len(folder.read(boxes_card(agreement="all")).targets[0].boxes) == 0
    assert len(folder.read(boxes_card(agreement="any")).targets[0].boxes) == 2
    assert len(folder.read(boxes_card(agreement="any", agreement_iou=0.7)).targets[0].boxes) == 3
    folder.write("f.csv", (folder.path / "f.csv").read_text() + with_one)
    error = fault(folder, boxes_card())
    assert error.where == "f.csv row 9" and "a has no box" in error.found


def slow_fusion(boxes, classes, readers, votes, least):
    """Each box joins the group whose mean it overlaps most, one box a reader and group; plain lists."""

    def overlap(one, two):
        cells = [set(itertools.product(range(b[0], b[2]), range(b[1], b[3]))) for b in (one, two)]
        return len(cells[0] & cells[1]) / len(cells[0] | cells[1])

    groups = []
    for box, kind, who in zip(boxes, classes, readers, strict=True):
        scores = []
        for group in groups:
            fits = group[0][1] == kind and who not in [member[2] for member in group]
            scores.append(overlap(group[0][0], box) if fits and len(group) == 1 else -1.0)
        best = int(np.argmax(scores)) if scores else -1
        if scores and scores[best] >= least:
            groups[best].append((box, kind, who))
        else:
            groups.append([(box, kind, who)])
    kept = [group for group in groups if len(group) >= votes]
    means = [np.mean([member[0] for member in group], axis=0).tolist() for group in kept]
    return means, [group[0][1] for group in kept], {group[0][1] for group in groups if len(group) < votes}


@st.composite
def marked(draw):
    x, y = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    return [x, y, x + draw(st.integers(1, 9)), y + draw(st.integers(1, 9))]


@settings(deadline=None, max_examples=150)
@given(
    items=st.lists(st.tuples(marked(), st.integers(0, 1), st.sampled_from(["A", "B"])), max_size=8),
    votes=st.integers(1, 2),
    least=st.sampled_from([0.2, 0.5, 0.75]),
)
def test_fusion_of_two_readers_is_that_of_the_slow_reference(items, votes, least):
    boxes, classes, readers = (list(part) for part in zip(*items, strict=True)) if items else ([], [], [])
    result = agreed_boxes(boxes, classes, readers, votes, least)
    expected = slow_fusion(boxes, classes, readers, votes, least)
    agreed, disputed = result
    np.testing.assert_allclose(np.array(agreed.boxes).reshape(-1, 4), np.array(expected[0]).reshape(-1, 4))
    assert (agreed.classes, set(disputed.classes)) == expected[1:]
    assert len(disputed.boxes) == len(disputed.classes)


def test_a_folder_that_cannot_be_listed_is_a_fault_of_its_row(folder):
    folder.files("a.png")
    folder.write("f.csv", f"file,Mass\na.png,1\n{'x' * 300}/b.png,0\n")
    card = make_card("label_columns_csv", ["Mass"], file="f.csv", options={"image_column": "file"})
    result = folder.read(card, skip=True)
    assert result.images == ["a.png"]
    (bad,) = result.bad
    assert "cannot be listed (File name too long)" in bad.reason


def test_cells_of_label_columns_may_be_words_or_grades(folder):
    folder.files(*(f"{k}.png" for k in range(6)))
    cells = ["YES", "no", "3", "2", "1.0", "0"]
    folder.write("labels.csv", "file,A\n" + "".join(f"{k}.png,{cell}\n" for k, cell in enumerate(cells)))
    options = {"image_column": "file", "words": {"YES": "present", "no": "absent"}, "present_from": 3, "absent_to": 1}
    card = make_card("label_columns_csv", ["A"], file="labels.csv", options=options)
    assert str(folder.read(card).labels[:, 0].tolist()) == "[1.0, 0.0, 1.0, nan, 0.0, 0.0]"
    card = make_card("label_columns_csv", ["A"], file="labels.csv", options=options | {"words": {"YES": "present"}})
    assert fault(folder, card).expected == "a grade, 'YES', -1 or an empty cell"
    folder.write("labels.csv", "file,A\n0.png,nan\n")
    assert "A is 'nan'" in fault(folder, card).found
    card = make_card("label_columns_csv", ["A"], file="labels.csv", options=options | {"absent_to": 3})
    with pytest.raises(CardError, match="absent_to 3 is not below present_from 3"):
        folder.read(card)
