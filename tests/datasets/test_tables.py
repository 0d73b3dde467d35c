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
from foundationx.datasets.readers._cells import Coded
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


def plain_loop(text):
    """Lines and cells of y and x, or the line of the first row of another width."""
    reader = csv.reader(io.StringIO(text, newline=""))
    next(reader)
    lines, cells = [], []
    for row in reader:
        if any(row):
            if len(row) < 2 or any(row[2:]):
                return reader.line_num
            lines.append(reader.line_num)
            cells.append((row[1].strip(), row[0].strip()))
    return lines, cells


ALPHABETS = ['ab ,"\n\r1', 'a,"\n', "a,\n", "a,b\n ", 'é,"\n\u2003 a', 'a1.,"\n\n,,""', "a\t,\n"]


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), chunk=st.sampled_from([1, 2, 3, 5, 8, 13, 1000]))
def test_irregular_text_is_read_as_a_plain_loop_reads_it(tmp_path, data, chunk):
    alphabet = data.draw(st.sampled_from(ALPHABETS))
    raw = st.text(alphabet, max_size=9)
    quoted = raw.map(lambda cell: '"' + cell.replace('"', '""') + '"')
    bare = raw.map(lambda cell: cell.translate({ord(sign): "" for sign in '\n\r,"'}))
    row = st.tuples(bare | quoted, bare | quoted).map(",".join)
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    rows = st.lists(row, max_size=8).map(lambda rows: end.join([*rows, ""]))
    text = "x,y\n" + data.draw(raw | rows | st.tuples(rows, raw, rows).map("".join))
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tables, "CHUNK", chunk)
        try:
            table = read_table(path, "t.csv", ["y", "x"])
            found = list(table.lines), list(zip(table.cells["y"], table.cells["x"], strict=True))
        except DataError as error:
            found = int(error.where.split()[-1])
    assert found == plain_loop(text)


def test_short_cells_of_few_kinds_are_codes_and_become_strings_when_others_follow(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    few = ["1.0", "", "-1.0", "01", "1"] * 60
    path.write_text("a,b\n" + "".join(f"{cell},x\n" for cell in few))
    column = read_table(path, "t.csv", ["a"]).cells["a"]
    assert isinstance(column, Coded) and list(column) == few and column[3] == "01" and list(column[1:3]) == ["", "-1.0"]
    monkeypatch.setattr(_tables, "CHUNK", 200)
    many = [*few, *(f"patient {index}" for index in range(300)), "1.0"]
    path.write_text("a,b\n" + "".join(f"{cell},x\n" for cell in many))
    assert list(read_table(path, "t.csv", ["a"]).cells["a"]) == many
    numbers = [str(index) for index in range(1000)]
    path.write_text("a,b\n" + "".join(f"{cell},x\n" for cell in numbers))
    assert list(read_table(path, "t.csv", ["a"]).cells["a"]) == numbers


def test_rows_added_many_at_once_are_those_added_one_by_one(tmp_path):
    folder = Folder(tmp_path)
    names = [f"{index:03d}.png" for index in range(60)]
    folder.files(*names[:55], "sub/a.png")
    rows = [f"{name},{index % 2}" for index, name in enumerate(names)]
    rows[7], rows[9], rows[20] = "003.png,1", "../x.png,1", "020.png,maybe"
    rows[30], rows[31], rows[40] = "sub/a.png,1", "sub/a.png,0", ",1"
    folder.write("f.csv", "\n".join(["file,Mass", *rows]) + "\n")
    card = make_card("label_columns_csv", ["Mass"], file="f.csv", options={"image_column": "file"})
    result = folder.read(card, skip=True)
    left_out = {7, 9, 20, 31, 40, *range(55, 60)}
    kept = [index for index in range(60) if index not in left_out]
    assert result.images == [rows[index].split(",")[0] for index in kept]
    assert list(result.rows) == [f"f.csv row {index + 2}" for index in kept]
    assert result.labels[:, 0].tolist() == [float(rows[index].split(",")[1]) for index in kept]
    assert [entry.row for entry in result.bad] == [f"f.csv row {index + 2}" for index in sorted(left_out)]
    assert "first in f.csv row 5" in result.bad[0].reason


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
