"""Tables as spreadsheets of all kinds export them: the cells are those that pandas finds."""

from __future__ import annotations

import codecs
import csv
import io

import numpy as np
import pandas
import pytest

from foundationx.core.errors import DataError
from foundationx.datasets.readers._tables import read_table
from tests.helpers.reader_cards import Folder, make_card

ROWS = [
    ["image", "TB", "note, with comma", "R\u00f6ntgen"],
    ["a.png", "1", 'said "yes"\nand no', "ja"],
    ["b c.png", "0", "", "nein"],
    ["d.png", "", "semi;colon\ttab", "\u80ba"],
]
MARKS = {"utf-8": b"", "utf-8-sig": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


def table(delimiter: str, ends: str, encoding: str, quoting: int, rows=ROWS) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator=ends, quoting=quoting).writerows(rows)
    return MARKS[encoding] + stream.getvalue().encode(encoding.removesuffix("-sig"))


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_are_those_of_pandas(tmp_path, encoding, ends, quoting, delimiter):
    rows = ROWS
    if delimiter != ",":  # a header with a comma would be read as one of a comma-separated table
        rows = [[name.replace(",", "") for name in ROWS[0]], *ROWS[1:]]
    path = tmp_path / "t.csv"
    path.write_bytes(table(delimiter, ends, encoding, quoting, rows))
    known = {"utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    expected = pandas.read_csv(path, sep=delimiter, encoding=known, dtype=str, keep_default_na=False)
    found = read_table(path, "t.csv", rows[0])
    for name in rows[0]:
        cells = [cell.replace("\r\n", "\n").replace("\r", "\n") for cell in found.cells[name]]
        assert cells == [cell.strip() for cell in expected[name]]


def test_a_reader_takes_such_a_table(tmp_path):
    folder = Folder(tmp_path)
    folder.files("a.png", "b c.png", "d.png")
    rows = [[name.replace(",", "") for name in ROWS[0]], *ROWS[1:]]
    (folder.path / "t.csv").write_bytes(table(";", "\r\n", "utf-16-le", csv.QUOTE_MINIMAL, rows))
    options = {"image_column": "image", "blank": "unknown"}
    result = folder.read(make_card("label_columns_csv", ["TB"], file="t.csv", options=options))
    np.testing.assert_array_equal(result.labels, [[1], [0], [np.nan]])


@pytest.mark.parametrize("content", [b"\xff\xfea\x00,", b"\xff\xfe\x00\xd8\x00\xd8", b"\xfe\xff\xdc\x00\x00a"])
def test_damaged_utf_16_is_named(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path, "t.csv", ["a"])
    assert caught.value.where == "t.csv" and "begins like UTF-16" in caught.value.found


def test_the_card_has_the_last_word_on_delimiters(tmp_path):
    folder = Folder(tmp_path)
    folder.files("a;b.png")
    folder.write("t.csv", "image;TB\na;b.png\n")
    card = make_card(
        "label_columns_csv", ["TB"], file="t.csv", table={"delimiter": "tab"}, options={"image_column": "image"}
    )
    with pytest.raises(DataError, match="no column"):
        folder.read(card)
