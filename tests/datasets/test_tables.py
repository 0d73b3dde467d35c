"""Tables read in chunks: every cell and every line as a plain loop over the csv module gives them."""

from __future__ import annotations

import csv
import gc
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundationx.core.errors import DataError
from foundationx.datasets.readers import _tables
from foundationx.datasets.readers._tables import read_table
from tests.helpers.reader_cards import Folder, fault, make_card

CELL = st.text(alphabet='ab ,"\n\r1', max_size=4)
TABLES = st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=12)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=TABLES, chunk=st.integers(1, 5), ends=st.sampled_from(["\n", "\r\n"]))
def test_cells_and_lines_are_those_of_a_plain_loop(tmp_path, rows, chunk, ends):
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=ends, quoting=csv.QUOTE_ALL).writerows([["x", "y", "z"], *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(stream.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tables, "CHUNK", chunk)
        table = read_table(path, "t.csv", ["z", "x"])
    lines, cells = [], []
    with open(path, newline="") as again:
        reader = csv.reader(again)
        next(reader)
        for row in reader:
            if any(row):
                lines.append(reader.line_num)
                cells.append((row[2].strip(), row[0].strip()))
    assert list(table.lines) == lines
    assert list(zip(table.cells["z"], table.cells["x"], strict=True)) == cells


def test_equal_cells_are_one_string_where_they_repeat(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,label\n" + "".join(f"{index}.png,a label that is long\n" for index in range(50)))
    labels = read_table(path, "t.csv", ["name", "label"]).cells["label"]
    assert all(label is labels[0] for label in labels)


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize(("row", "line"), [("1", 5), ("1,2,3", 5), ('1,"2\n3"\n4', 7)])
def test_a_row_of_another_width_names_its_line(tmp_path, monkeypatch, chunk, row, line):
    monkeypatch.setattr(_tables, "CHUNK", chunk)
    path = tmp_path / "t.csv"
    path.write_text(f"x,y\n1,2\n\n1,2\n{row}\n1,2\n")
    with pytest.raises(DataError) as caught:
        read_table(path, "t.csv", ["x"])
    assert caught.value.where == f"t.csv row {line}"


def test_a_cell_beyond_every_size_names_its_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n" + "1" * (2**24 + 1) + ",2\n")
    with pytest.raises(DataError) as caught:
        read_table(path, "t.csv", ["x"])
    assert caught.value.where == "t.csv row 3" and "field larger" in caught.value.found


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_as_before_whatever_happens(tmp_path, was_on):
    folder = Folder(tmp_path)
    folder.files("a")
    card = make_card("label_columns_csv", ["Mass"], file="f.csv", options={"image_column": "file"})
    try:
        gc.enable() if was_on else gc.disable()
        folder.write("f.csv", "file,Mass\na,1\n")
        folder.read(card)
        assert gc.isenabled() is was_on
        folder.write("f.csv", "file,Mass\na,x\n")
        fault(folder, card)
        assert gc.isenabled() is was_on
    finally:
        gc.enable()


def test_all_missing_columns_are_named_at_once(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="there are no columns 'xx', 'zz'; found 'x', 'y'"):
        read_table(path, "t.csv", ["xx", "y", "zz"])
    with pytest.raises(DataError, match="there is no column 'zz'; found 'x', 'y'"):
        read_table(path, "t.csv", ["zz"])
