"""Packed runs are the runs that were given, and text is packed as the plain parser reads it."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.errors import DataError
from foundationx.core.locations import Locations
from foundationx.core.runs import Runs, pack_cells
from foundationx.datasets.readers._runs import runs_from_text, text_of

LINES = st.lists(st.tuples(st.integers(0, 70_000), st.integers(1, 70_000)), max_size=30)


@given(LINES, st.sampled_from([1, 40, 9000]))
def test_packed_runs_are_unpacked_unchanged(pairs, divisor):
    gaps = np.array([gap // divisor for gap, _ in pairs], dtype=np.int64)
    lengths = np.array([length // divisor + 1 for _, length in pairs], dtype=np.int64)
    starts = np.cumsum(gaps + np.concatenate([[0], lengths[:-1]])) if pairs else gaps
    runs = Runs(starts, lengths, "rows", 4, 5)
    np.testing.assert_array_equal(runs.starts, starts)
    np.testing.assert_array_equal(runs.lengths, lengths)
    assert runs == Runs(starts, lengths, "rows", 4, 5) != Runs(starts, lengths, "columns", 4, 5)
    assert not pairs or runs.end == starts[-1] + lengths[-1]


def test_the_outline_of_an_organ_takes_about_a_byte_per_run():
    rows = np.arange(100, 900)
    half = 200 * np.sqrt(1 - ((rows - 500) / 401) ** 2)
    runs = Runs(rows * 1024 + (400 - half).astype(int), (2 * half).astype(int) + 1, "rows", 1024, 1024)
    assert len(runs._packed) < 1.3 * len(rows)


ODD = ["-1", "", "5", "1 2 3", "1  2", "x 1", "1.5 2", "123456789 1", "1 123456789", "1 0", "5 2 6 2", "99999999999 1"]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0, 1]))
def test_a_column_of_cells_is_read_as_the_plain_parser_reads_each(seed, relative, first):
    draw = random.Random(seed)
    cells = []
    for _ in range(draw.randint(0, 6)):
        numbers = [str(draw.choice([0, 1, 3, 100, 2000])) for _ in range(2 * draw.randint(1, 4))]
        cells.append(draw.choice(ODD) if draw.random() < 0.2 else " ".join(numbers))
    for cell, value in zip(cells, pack_cells([cell.encode() for cell in cells], relative, first), strict=True):
        kind = {"relative": relative, "first": first, "order": "rows", "height": None, "width": None}
        if isinstance(value, bytes):
            runs = Runs.of_packed(value, "rows", None, None)
            assert runs == runs_from_text(cell, "", **kind) and text_of(runs, relative, first) == cell
        else:
            assert value == cell  # what is unusual is left to the plain parser
            if cell not in ("1  2", "123456789 1", "1 123456789"):
                with pytest.raises(DataError):
                    runs_from_text(cell, "", **kind)


def test_locations_are_the_texts_that_were_given():
    texts = ["a.csv row 2", "a.csv row 3", "b.json image 007", "images/x.png", "", "a row -1", "a row ²", "c row 0"]
    locations = Locations(texts)
    locations.extend_rows("d.csv row", np.array([5, 9], np.int32))
    texts += ["d.csv row 5", "d.csv row 9"]
    assert list(locations) == texts and locations == texts and len(locations) == len(texts)
    assert [locations[index] for index in range(len(texts))] == texts and locations[-1] == texts[-1]
    assert locations[2:5] == texts[2:5]
