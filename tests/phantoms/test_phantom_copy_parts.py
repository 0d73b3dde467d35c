"""Parts of phantom copies: names from regular expressions, runs, outlines, and the findings of images."""

import re
import string

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foundationx.core.errors import CardError
from foundationx.datasets.readers._runs import runs_from_text
from foundationx.phantoms.copy_writer import CopyWriter
from foundationx.phantoms.expressions import Group, example, parse
from foundationx.phantoms.ground_truth import FindingAllocator, LabelSpace
from foundationx.phantoms.layouts._outlines import outline, runs
from foundationx.phantoms.names import Rule, file_name
from tests.helpers.cards import all_cards

CATALOG = all_cards()
CARDS = [CATALOG.card(name) for name in CATALOG.names()]
EXPRESSIONS = sorted(
    {card.patient.pattern for card in CARDS if card.patient and card.patient.pattern}
    | {expression for card in CARDS if card.patient for expression in card.patient.namespaces.values()}
)


@pytest.mark.parametrize("expression", [*EXPRESSIONS, r"^([^\d_]{4})x", r"a(b|c)+d", r"(\w{2,3}?)-\S", r"(.*)\.png$"])
@given(inside=st.integers(1, 9999), outside=st.integers(1, 9999))
def test_an_example_matches_and_its_group_distinguishes_numbers(expression, inside, outside):
    match = re.search(expression, example(expression, inside, outside))
    assert match and match.group(1)
    if r"\d+" in expression.partition("(")[2].partition(")")[0]:
        assert match.group(1) != re.search(expression, example(expression, inside + 1, outside)).group(1)


def test_names_by_hand():
    assert example(r"JPC([LN])N\d+\.IMG$", 3, 17, "L") == "JPCLN00017.IMG"
    rules = [Rule("patient", r"(patient\d+)/"), Rule("side", r"_(train|test)\.jpg$", "test")]
    first, second = (next(file_name("images", rules, ".jpg", 3, number)) for number in (17, 18))
    assert all(rule.matches(f"images/{name}") for rule in rules for name in (first, second))
    assert first.startswith("patient00003/") and first.endswith("_test.jpg")
    other = next(name for name in file_name("images", rules, ".jpg", 3, 18) if name != first)
    assert re.search(rules[0].expression, other).group(1) == "patient00003", "a second image of one patient"
    with pytest.raises(CardError, match="cannot be imitated"):
        list(file_name("images", [Rule("patient", r"(?!x)(\d+)")], "", 1, 1))


@given(
    mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    relative=st.booleans(),
    first=st.sampled_from([0, 1]),
    order=st.sampled_from(["rows", "columns"]),
)
def test_runs_are_read_back(mask, relative, first, order):
    mask[0, 0] = True
    height, width = mask.shape
    text = runs(mask, relative=relative, first=first, order=order)
    result = runs_from_text(text, "row", relative=relative, first=first, order=order, height=height, width=width)
    drawn = np.zeros(mask.size, bool)
    for start, length in zip(result.starts, result.lengths, strict=True):
        drawn[start : start + length] = True
    assert (drawn.reshape(mask.shape, order="C" if order == "rows" else "F") == mask).all()


@given(x=st.integers(0, 20), y=st.integers(0, 20), width=st.integers(1, 9), height=st.integers(1, 9))
def test_an_outline_fills_to_its_mask(x, y, width, height):
    mask = np.zeros((30, 30), np.uint8)
    mask[y : y + height, x : x + width] = 1
    points = np.array(outline(mask.astype(bool)))
    assert len(points) >= 3
    drawn = cv2.fillPoly(np.zeros_like(mask), [points.astype(np.int32)], 1)
    assert (drawn[mask == 1] == 1).all()


@given(
    free=st.integers(1, 40),
    labels=st.integers(0, 4),
    none=st.booleans(),
    count=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_every_finding_is_allocated_and_one_label_stays_one(free, labels, none, count, seed):
    single = tuple(f"label {k}" for k in range(labels))
    spaces = [LabelSpace(tuple(f"finding {k}" for k in range(free)), one_label=False, none=True)]
    spaces += [LabelSpace(single, one_label=True, none=none)] if labels else []
    allocator = FindingAllocator(spaces, {})
    images = allocator.allocate(allocator.least + count, np.random.default_rng(seed))
    assert set().union(*(present for present, _ in images)) == {*single, *spaces[0].findings}
    for present, doubtful in images:
        assert not present & doubtful
        assert len(present & set(single)) <= 1 and (none or not labels or present & set(single))
    if allocator.normal:
        assert any(not present and not doubtful for present, doubtful in images)


def test_a_kind_of_a_label_is_only_where_the_label_is():
    spaces = [
        LabelSpace(("sick", "tb"), one_label=True, none=True),
        LabelSpace(("active tb",), one_label=False, none=True),
    ]
    images = [
        present
        for present, _ in FindingAllocator(spaces, {"active tb": frozenset({"tb"})}).allocate(
            9, np.random.default_rng(0)
        )
    ]
    assert any("active tb" in image for image in images) and any("sick" in image for image in images)
    assert all("tb" in image for image in images if "active tb" in image)


def test_nothing_is_written_outside_the_data_root(tmp_path):
    writer = CopyWriter(tmp_path / "data", [])
    with pytest.raises(CardError, match="leads out"):
        writer.json("set/../../elsewhere.json", [])
    writer.json("set/../shared.json", [])
    assert (tmp_path / "data" / "shared.json").is_file() and not (tmp_path / "elsewhere.json").exists()


@pytest.mark.parametrize(
    "members", [r"[]a-]", r"[^]x]", r"[\d.]", r"[^\W_]", r"[a-f0-9]", r"\S", r"\.", r"(?:a|b|[0-3])", "."]
)
def test_a_parsed_set_allows_the_characters_that_re_matches(members):
    (item,) = parse(members)
    allowed = item.content[0].allows if isinstance(item, Group) else item.allows
    assert [sign for sign in string.printable if allowed(sign)] == [
        sign for sign in string.printable if re.fullmatch(members, sign, re.DOTALL)
    ]


@pytest.mark.parametrize("expression", [r"(?=case)(\w+)", r"(?i)(a)", r"(a)\1", "(a", "a)b("])
def test_expressions_beyond_the_parser_are_refused(expression):
    with pytest.raises(ValueError, match="cannot be imitated"):
        example(expression, 1, 1)
