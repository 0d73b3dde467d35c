"""Whatever stands in a published file, a reader reads it or says what is wrong: never another exception."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundationx.core.errors import DataError
from tests.datasets.test_readers_formats import BBOX, CHESTX, FINDINGS, coco, coco_card
from tests.helpers.reader_cards import Folder, make_card

COCO = coco([{"category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6]]}])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=3) | st.just("a.png"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
CELLS = st.sampled_from(["a.png", "Mass", "1", "-1", "nan", "", "..", "/", '"', ",", "\n", "\r", "\x00", "é", "|"])


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(position for key, item in inner for position in places(item, (*path, key)))]


def replaced(value: Any, path: tuple, odd: Any) -> Any:
    if not path:
        return odd
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path)
    folder.files("a.png", "b.png")
    return folder


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("reader", ["coco", "chestx_det"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), skip=st.booleans())
def test_json_with_something_odd_in_it(folder, reader, task, data, skip):
    good = COCO if reader == "coco" else CHESTX
    card = coco_card(task) if reader == "coco" else make_card(reader, ["Mass", "Other"], task, file="f.json")
    odd = replaced(good, data.draw(st.sampled_from(places(good))), data.draw(ODD))
    folder.write("f.json", json.dumps(odd))
    with contextlib.suppress(DataError):
        folder.read(card, skip)


CSV_CARDS = [
    make_card("findings_csv", ["Mass"], file="f.csv", options=FINDINGS),
    make_card("label_columns_csv", ["A"], file="f.csv", options={"image_column": "file"}),
    make_card("bbox_csv", ["Mass"], "detection", file="f.csv", options=BBOX | {"box_layout": "xywh"}),
    make_card(
        "mask_table", ["Mass"], "segmentation", file="f.csv", options={"image_column": "file", "mask_column": "mask"}
    ),
]
HEADER = "file,found,A,mask,Image Index,Finding Label,Bbox [x,y,w,h]\n"


@pytest.mark.parametrize("card", CSV_CARDS, ids=lambda card: next(iter(card.tasks.values())).reader)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=9, max_size=10).map(",".join), max_size=4), skip=st.booleans())
def test_tables_with_odd_cells(folder, card, rows, skip):
    folder.write("f.csv", HEADER + "\n".join(rows))
    with contextlib.suppress(DataError):
        folder.read(card, skip)
