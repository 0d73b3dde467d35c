"""Bad tables, patients, splits and cards: the message names file and row; ``skip`` counts and lists what it drops."""

from __future__ import annotations

import pytest

from foundationx.core.errors import CardError
from foundationx.core.types import Task
from foundationx.datasets.annotations import open_reader
from tests.datasets.test_readers_formats import BBOX, FINDINGS
from tests.helpers.reader_cards import Folder, fault, make_card


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path)
    folder.files("a.png", "b.png", "c.png")
    return folder


def findings_card(**further):
    return make_card("findings_csv", ["Mass", "Nodule"], file="f.csv", options=FINDINGS, **further)


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        ("", "f.csv", "is empty"),
        ("  \n\n", "f.csv", "is empty"),
        ("file,fond\na.png,Mass\n", "f.csv row 1", "did you mean 'fond'?"),
        ("file,fond\na.png,Mass\n", "f.csv row 1", "found 'file', 'fond'"),
        ("file,found, found\na.png,Mass,Mass\n", "f.csv row 1", "'found' is given twice"),
        (",,\na.png,Mass\n", "f.csv row 1", "no column has a name"),
        ("file,found\na.png\n", "f.csv row 2", "has 1 cells"),
        ("file,found\na.png,Mass\nb.png,Mass,Nodule\n", "f.csv row 3", "has 3 cells"),
        ("file,found\n", "f.csv", "no image can be used"),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_a_faulty_table_is_always_raised(folder, content, where, words, skip):
    folder.write("f.csv", content)
    error = fault(folder, findings_card(), skip)
    assert error.where.endswith(where)
    assert words in str(error)


@pytest.mark.parametrize("skip", [False, True])
def test_a_missing_file_is_always_raised(folder, skip):
    error = fault(folder, findings_card(), skip)
    assert error.where == "f.csv"
    assert str(folder.path / "f.csv") in error.found


def test_bytes_that_are_no_text(folder):
    (folder.path / "f.csv").write_bytes(b"file,found\na.png,M\xe4ss\n")
    assert "byte 18 is not UTF-8" in fault(folder, findings_card()).found


def test_missing_folders_are_named(folder):
    folder.write("f.csv", "file,found\na.png,Mass\n")
    assert "'films'" in fault(folder, findings_card(images="films"), skip=True).found
    (folder.path / "f.csv").unlink()
    for name in ("a.png", "b.png", "c.png"):
        (folder.path / name).unlink()
    folder.path.rmdir()
    assert fault(folder, findings_card()).where == str(folder.path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page"),
        (b"PK\x03\x04" + bytes(90), "is packed as a whole"),
        (bytes(90), "holds nothing but zeros"),
    ],
)
@pytest.mark.parametrize("reader", ["findings_csv", "coco"])
def test_what_a_download_left_instead_of_the_table_is_named(folder, content, found, reader):
    (folder.path / "f.csv").write_bytes(content)
    options = {"image_column": "file", "findings_column": "found"} if reader == "findings_csv" else {}
    error = fault(folder, make_card(reader, ["Mass"], file="f.csv", options=options))
    assert (error.where, error.expected) == ("f.csv", "the published file")
    assert found in error.found


BAD_ROWS = [
    ("b.png,Nodul", "did you mean 'Nodule'?"),
    ("b.png,No finding", "did you mean 'No Finding'?"),
    ("b.png,", "'' is not a class"),
    (",Mass", "the file name is empty"),
    ("a.png,Nodule", "first in f.csv row 2"),
    ("missing.png,Mass", "missing.png does not exist"),
    ("../a.png,Mass", "leads out of the dataset's folder"),
    ("x/../../a.png,Mass", "leads out of the dataset's folder"),
    ("/etc/passwd,Mass", "leads out of the dataset's folder"),
    ("x\\a.png,Mass", "holds a backslash"),
]


@pytest.mark.parametrize(("row", "words"), BAD_ROWS)
def test_a_bad_row_names_file_and_row(folder, row, words):
    folder.write("f.csv", f"file,found\na.png,Mass\n{row}\nc.png,Nodule\n")
    error = fault(folder, findings_card())
    assert error.where == "f.csv row 3"
    assert words in str(error)
    assert error.fix


@pytest.mark.parametrize(("row", "words"), BAD_ROWS)
def test_skip_leaves_the_row_out_and_lists_it(folder, row, words):
    folder.write("f.csv", f"file,found\na.png,Mass\n{row}\nc.png,Nodule\n")
    result = folder.read(findings_card(), skip=True)
    assert result.images == ["a.png", "c.png"]
    assert result.labels.tolist() == [[1, 0], [0, 1]]
    (bad,) = result.bad
    assert (bad.dataset, bad.task, bad.file, bad.row) == ("tiny", "classification", row.split(",")[0], "f.csv row 3")
    assert bad.reason


def test_nothing_left_after_skipping_is_an_error(folder):
    folder.write("f.csv", "file,found\nx.png,Mass\ny.png,Mass\n")
    error = fault(folder, findings_card(), skip=True)
    assert "the first of 2 invalid ones: x.png does not exist" in error.found


@pytest.mark.parametrize("cell", ["yes", "2", "-0.5", "nan", "inf"])
def test_a_label_that_is_none(folder, cell):
    folder.write("f.csv", f"path,A\na.png,1\nb.png,{cell}\n")
    card = make_card("label_columns_csv", ["A"], file="f.csv", options={"image_column": "path"})
    error = fault(folder, card)
    assert error.where == "f.csv row 3"
    assert f"A is {cell!r}" in error.found
    assert folder.read(card, skip=True).images == ["a.png"]


def test_a_class_without_column(folder):
    folder.write("f.csv", "path,Effusions\na.png,1\n")
    card = make_card("label_columns_csv", ["Effusion"], file="f.csv", options={"image_column": "path"})
    assert "did you mean 'Effusions'?" in str(fault(folder, card, skip=True))


TABLE = {"file": "who.csv", "image_column": "image", "value_column": "who"}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("patient", "words"),
    [
        ({"pattern": r"^(\d+)_"}, "the pattern"),
        ({"column": "who"}, "the column 'who' gives no patient for b.png"),
        ({"tables": [TABLE]}, "who.csv with image 'b.png' gives no patient"),
    ],
)
def test_an_image_without_patient(folder, patient, words, skip):
    folder.files("1_a.png")
    folder.write("who.csv", "image,who\n1_a.png,p\n")
    folder.write("f.csv", "file,found,who\n1_a.png,Mass,p\nb.png,Mass,\n")
    card = findings_card(patient=patient)
    if not skip:
        error = fault(folder, card)
        assert error.where == "f.csv row 3"
        assert words in error.found
        return
    result = folder.read(card, skip=True)
    assert result.images == ["1_a.png"]
    assert words in result.bad[0].reason


def test_tables_of_patients_that_cannot_be_used(folder):
    folder.write("f.csv", "file,found\na.png,Mass\n")
    folder.write("who.csv", "image,who\na.png,p\na.png,q\n")
    error = fault(folder, findings_card(patient={"tables": [TABLE]}))
    assert error.where == "who.csv row 3"
    assert "a.png has the patient q, but an earlier row gives p" in error.found
    assert "did you mean 'who'?" in str(
        fault(folder, findings_card(patient={"tables": [TABLE | {"value_column": "whom"}]}))
    )
    with pytest.raises(CardError, match="outside the data root"):
        folder.read(findings_card(patient={"tables": [TABLE | {"file": "../../who.csv"}]}))


def test_an_official_split_that_nobody_explained(folder):
    folder.write("f.csv", "file,found,part\na.png,Mass,train\nb.png,Mass,dev\nc.png,Mass,\n")
    card = findings_card(splits={"column": "part", "values": {"train": ["train"]}})
    error = fault(folder, card)
    assert error.where == "f.csv row 3"
    assert "part is 'dev'" in error.found
    assert len(folder.read(card, skip=True)) == 2


def test_an_image_on_two_lists(folder):
    folder.write("f.csv", "file,found\na.png,Mass\n")
    folder.write("train.txt", "b.png\na.png\n")
    folder.write("test.txt", "a.png\n")
    error = fault(folder, findings_card(splits={"lists": {"test": "test.txt", "train": "train.txt"}}))
    assert error.where == "train.txt row 2"


@pytest.mark.parametrize(
    ("card", "task", "place", "words"),
    [
        (make_card("finding_csv", ["A"]), Task.CLASSIFICATION, "tasks.classification.reader", "mean 'findings_csv'?"),
        (make_card("coco", ["A"]), Task.DETECTION, "tasks", "there is no detection"),
        (
            make_card("bbox_csv", ["A"], "segmentation"),
            Task.SEGMENTATION,
            "tasks.segmentation.reader",
            "does not support segm",
        ),
        (
            make_card("findings_csv", ["A"], options=FINDINGS | {"seperator": ","}),
            Task.CLASSIFICATION,
            "tasks.classification.options.seperator",
            "did you mean 'separator'?",
        ),
        (
            make_card("findings_csv", ["A"], options={"image_column": "a"}),
            Task.CLASSIFICATION,
            "tasks.classification.options.findings_column",
            "is missing",
        ),
        (
            make_card("bbox_csv", ["A"], "detection", options=BBOX | {"box_layout": "xyhw"}),
            Task.DETECTION,
            "tasks.detection.options.box_layout",
            "did you mean 'xywh'?",
        ),
    ],
)
def test_a_card_that_its_reader_cannot_follow(card, task, place, words):
    with pytest.raises(CardError) as caught:
        open_reader(card, task)
    assert caught.value.where == f"card: {place}"
    assert words in str(caught.value)
