"""What single cells of tables mean to the readers, at the edges of what they may hold, by hand."""

import numpy as np
import pytest

from foundationx.core.errors import DataError
from foundationx.datasets.readers.label_columns_csv import SOFT_HIGH, SOFT_LOW
from tests.helpers.reader_cards import Folder, fault, make_card

NAN = float("nan")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def labels_of(folder, reader, classes, header, *cells, **options):
    """Labels of images a.png, b.png ..., one row of cells each; None where the row is an error."""
    names = [f"{letter}.png" for letter in "abcdefghijkl"[: len(cells)]]
    folder.files(*names)
    lines = [f"{name},{cell}" for name, cell in zip(names, cells, strict=True)]
    folder.write("f.csv", "\n".join([f"file,{header}", *lines]) + "\n")
    options = {"image_column": "file"} | options
    result = folder.read(make_card(reader, classes, file="f.csv", options=options), skip=True)
    by_name = dict(zip(result.images, result.labels.tolist(), strict=True))
    return [by_name.get(name) for name in names]


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_equal(one, other)


FINDINGS = {"findings_column": "found", "negative": ["none"], "unknown": ["todo"], "ignore": ["old"], "other": ["pin"]}


@pytest.mark.parametrize(("blank", "expected"), [("negative", [0.0, 0.0]), ("unknown", [NAN, NAN]), ("error", None)])
@pytest.mark.parametrize("repeated", ["error", "same"])
def test_findings_and_empty_cells(folder, blank, expected, repeated):
    cells = ["", "x", "x|y", "none", "todo", "x|todo", "old", "x|old", "pin", " | ", "z", "y||x"]
    found = labels_of(folder, "findings_csv", ["x", "y"], "found", *cells, **FINDINGS, blank=blank, repeated=repeated)
    unknown, last = [NAN, NAN], None  # an empty name beside others is no finding of the card
    rest = [[1, 0], [1, 1], [0, 0], unknown, unknown, unknown, [1, 0], [0, 0], expected, None, last]
    same(found, [expected, *rest])


def test_a_finding_that_may_be_a_class_leaves_it_unknown_unless_another_names_it(folder):
    options = FINDINGS | {"undecided": {"maybe": ["x"]}}
    found = labels_of(folder, "findings_csv", ["x", "y"], "found", "maybe", "maybe|x", "maybe|y", "y", **options)
    same(found, [[NAN, 0], [1, 0], [NAN, 1], [0, 1]])


def test_a_table_without_one_finding_of_the_card_gives_no_image(folder):
    folder.files("a.png", "b.png")
    folder.write("f.csv", "file,found\na.png,odd\nb.png,odder\n")
    card = make_card("findings_csv", ["x"], file="f.csv", options={"image_column": "file"} | FINDINGS)
    assert "no image can be used; the first of 2 invalid ones: 'odd'" in str(fault(folder, card, skip=True))


def test_unlisted_findings_are_errors_or_say_nothing(folder):
    for unlisted, expected in (("error", [None, None, [1]]), ("ignore", [[NAN], [1], [1]])):
        found = labels_of(folder, "findings_csv", ["x"], "found", "odd", "odd|x", "x", **FINDINGS, unlisted=unlisted)
        same(found, expected)


@pytest.mark.parametrize(
    ("options", "cells", "expected"),
    [
        ({}, ["0", "1", "0.5", "1.5", "-0.5", "", "-1", "x", "nan"], [0, 1, 0.5, None, None, NAN, NAN, None, None]),
        ({"blank": "negative", "uncertain": "zeros"}, ["", "-1", "1"], [0, 0, 1]),
        ({"uncertain": "ones", "uncertain_value": 3}, ["3", "-1", "0"], [1, None, 0]),
        ({"present_from": 2}, ["0", "1", "2", "3", "-1", "inf", "0.5"], [0, NAN, 1, 1, NAN, None, NAN]),
        ({"present_from": 2, "absent_to": 1}, ["0", "1", "1.5", "2", "9"], [0, 0, NAN, 1, 1]),
        (
            {"words": {"yes": "present", "no": "absent", "may": "unknown"}},
            ["yes", "no", "may", "1", "often"],
            [1, 0, NAN, 1, None],
        ),
    ],
)
def test_a_label_column(folder, options, cells, expected):
    found = labels_of(folder, "label_columns_csv", ["x"], "x", *cells, **options)
    same(found, [None if one is None else [one] for one in expected])


def test_a_row_of_empty_cells_may_be_unknown(folder):
    cells = [",", "1,", ",0"]
    for blank_row, first in (("unknown", [NAN, NAN]), ("blank", [0, 0])):
        found = labels_of(folder, "label_columns_csv", ["x", "y"], "x,y", *cells, blank="negative", blank_row=blank_row)
        same(found, [first, [1, 0], [0, 0]])


def test_a_digit_for_each_class(folder):
    options = {"digits_column": "grades", "present_from": 2, "absent_to": 1}
    cells = ["012", "21", "2", "", "0123", "x12", "0.1"]
    found = labels_of(folder, "label_columns_csv", ["x", "y", "z"], "grades", *cells, **options)
    same(found, [[0, 0, 1], [0, 1, 0], [0, 0, 1], [NAN] * 3, None, None, None])


def test_the_mean_of_two_columns(folder):
    options = {"several_columns": "mean", "present_from": 2, "absent_to": 1}
    classes = [{"name": "x", "sources": ["one", "two"]}]
    cells = ["1,3", "1,2", "1,1", "0,1", ",3", "3,", "a,3"]
    found = labels_of(folder, "label_columns_csv", classes, "one,two", *cells, **options)
    same(found, [[1], [NAN], [0], [0], [NAN], [NAN], None])
    card = make_card("label_columns_csv", classes, file="f.csv", options={"image_column": "file"})
    assert "'one' and 'two' are one class" in str(fault(folder, card))


def test_soft_labels_fill_their_range(folder):
    folder.files(*(f"{number}.png" for number in range(200)))
    folder.write("f.csv", "\n".join(["file,x,y", *(f"{number}.png,-1,-1" for number in range(200))]))
    options = {"image_column": "file", "uncertain": "lsr_ones"}
    labels = folder.read(make_card("label_columns_csv", ["x", "y"], file="f.csv", options=options)).labels
    assert (SOFT_LOW, SOFT_HIGH) == (0.55, 0.85)
    assert 0.55 <= labels.min() < 0.56 and 0.84 < labels.max() <= 0.85
    assert labels.mean() == pytest.approx(0.7, abs=0.01), "uniform"
    assert len(np.unique(labels)) > 390, "drawn for each image and class"


def test_several_readers_of_an_image(folder):
    """Majority of those who know; each reader has one row of an image."""
    folder.files("a.png", "b.png")
    rows = ["a.png,p,1,0", "a.png,q,1,1", "a.png,r,0,", "b.png,p,,1"]
    options = {"image_column": "file", "reader_column": "who"}
    card = make_card("label_columns_csv", ["x", "y"], file="f.csv", options=options)
    folder.write("f.csv", "\n".join(["file,who,x,y", *rows]) + "\n")
    result = folder.read(card)
    assert result.images == ["a.png", "b.png"]
    same(result.labels.tolist(), [[1, NAN], [NAN, 1]])
    folder.write("f.csv", "\n".join(["file,who,x,y", *rows, "a.png,q,1,1"]) + "\n")
    assert "a.png is repeated for q" in str(fault(folder, card))


def runs_labels(folder, rows, **options):
    names = sorted({row.partition(",")[0] for row in rows})
    folder.files(*names)
    folder.write("r.csv", "\n".join(["file,one,two", *rows]) + "\n")
    options = {"image_column": "file", "runs_columns": {"one": "one", "two": "two"}, "empty": ["-1"]} | options
    options |= {"height": 4, "width": 5, "relative": False, "first": 0, "order": "rows"}
    return folder.read(make_card("runs_csv", ["one", "two"], "segmentation", file="r.csv", options=options))


@pytest.mark.parametrize(("blank", "nothing"), [("unknown", NAN), ("negative", 0.0)])
def test_runs_are_present_absent_or_unknown(folder, blank, nothing):
    result = runs_labels(folder, ["a.png,0 1,-1", "b.png,,2 3", "b.png,,9 1", "c.png,-1,"], blank=blank)
    assert result.images == ["a.png", "b.png", "c.png"]
    same(result.labels.tolist(), [[1, 0], [nothing, 1], [0, nothing]])


@pytest.mark.parametrize("rows", [["a.png,0 1,-1", "a.png,-1,-1"], ["a.png,-1,-1", "a.png,0 1,-1"]])
def test_rows_that_contradict_each_other_are_refused(folder, rows):
    with pytest.raises(DataError, match=r"a\.png has one in one row and none in another"):
        runs_labels(folder, rows)


@pytest.mark.parametrize(("runs", "fits"), [("19 1", True), ("19 2", False), ("20 1", False)])
def test_runs_end_with_their_mask(folder, runs, fits):
    if fits:
        assert runs_labels(folder, [f"a.png,{runs},-1"]).labels.tolist() == [[1, 0]]
    else:
        with pytest.raises(DataError, match="overlap or lie outside the mask"):
            runs_labels(folder, [f"a.png,{runs},-1"])
