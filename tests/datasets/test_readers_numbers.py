"""Published numbers at their limits, by hand: coordinates, boxes, polygons, runs, and what several readers agree on."""

import numpy as np
import pytest

from foundationx.core.errors import DataError
from foundationx.core.runs import Runs
from foundationx.core.types import ReferenceSize
from foundationx.datasets.readers._agreement import agreed_boxes, agreed_labels, votes_needed
from foundationx.datasets.readers._geometry import box, no_outline, numbers, polygon
from foundationx.datasets.readers._runs import bounding_box, runs_from_coco, runs_from_text, text_of

NAN = float("nan")
LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5], [1, 2.5]),
        (("1", " 2.5 "), [1, 2.5]),
        ([1e6, -1e6], [1e6, -1e6]),
        ([1e6 + 1, 0], None),
        ([0, -1e6 - 1], None),
        ([NAN, 0], None),
        ([0, float("inf")], None),
        ([1], None),
        ([1, 2, 3], None),
        (["1", "x"], None),
        ([1, None], None),
        ([1, 10**400], None),
        (12, None),
    ],
)
def test_coordinates_are_so_many_finite_numbers_up_to_a_million(values, expected):
    if expected is None:
        with pytest.raises(DataError, match=r"2 (finite )?numbers"):
            numbers(values, 2, "row 1")
    else:
        assert numbers(values, 2, "row 1") == expected


@pytest.mark.parametrize(
    ("layout", "values", "expected"),
    [
        ("xyxy", [1, 2, 4, 8], [1, 2, 4, 8]),
        ("xywh", [1, 2, 4, 8], [1, 2, 5, 10]),
        ("cxcywh", [10, 20, 4, 8], [8, 16, 12, 24]),
        ("xyxy", [1, 2, 1, 8], None),
        ("xyxy", [1, 2, 0, 8], None),
        ("xyxy", [1, 2, 4, 2], None),
        ("xyxy", [1, 2, 4, 1], None),
        ("xywh", [1, 2, 0, 8], None),
        ("xywh", [1, 2, 4, -1], None),
        ("xywh", [1, 2, 0.5, 0.5], [1, 2, 1.5, 2.5]),
    ],
)
def test_a_box_in_each_layout_has_a_size(layout, values, expected):
    if expected is None:
        with pytest.raises(DataError, match="has no positive size"):
            box(values, layout, "row 1")
    else:
        assert box(values, layout, "row 1") == expected


SIZE = ReferenceSize(20, 30, False)


@pytest.mark.parametrize(
    ("values", "size", "inside"),
    [
        ([-1, -1, 31, 21], SIZE, True),
        ([-1.01, 0, 5, 5], SIZE, False),
        ([0, -1.01, 5, 5], SIZE, False),
        ([0, 0, 31.01, 5], SIZE, False),
        ([0, 0, 5, 21.01], SIZE, False),
        ([0, 0, 25, 5], SIZE, True),
        ([-1, -1, 99999, 99999], None, True),
        ([-1.01, 0, 5, 5], None, False),
        ([0, -1.01, 5, 5], None, False),
    ],
)
def test_a_box_may_extend_a_pixel_beyond_its_image(values, size, inside):
    assert SIZE.tolerance == 1
    if inside:
        assert box(values, "xyxy", "row 1", size) == values
    else:
        with pytest.raises(DataError, match="extends beyond its image"):
            box(values, "xyxy", "row 1", size)


@pytest.mark.parametrize(
    ("points", "nothing"),
    [
        (None, True), ("", True), (" None ", True), ("NaN", True), ("[]", True), ("-1", True), ([], True), ((), True),
        ({}, True), ([[]], True), ([[], {}], True), (NAN, True), ("0", False), ("[1]", False), ([0], False),
        ([[], [1]], False), ([[1, 2]], False), ({"size": 1}, False), (0.0, False), (1.5, False), (0, False),
    ],
)  # fmt: skip
def test_what_publishers_write_for_no_outline(points, nothing):
    assert no_outline(points) is nothing


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]]),
        ([1, 2, 3, 4, 5, 6], [[1, 2], [3, 4], [5, 6]]),
        ([[1, 2], [3, 4], [5, 6], [7, 8]], [[1, 2], [3, 4], [5, 6], [7, 8]]),
        ([[1, 2], [3, 4]], None),
        ([1, 2, 3, 4], None),
        ([1, 2, 3, 4, 5], None),
        ([[1, 2], [3, 4], [5, 6, 7]], None),
        ([], None),
        ("1 2 3 4 5 6", None),
    ],
)
def test_a_polygon_has_three_pairs_of_numbers(points, expected):
    if expected is None:
        with pytest.raises(DataError):
            polygon(points, "row 1")
    else:
        assert polygon(points, "row 1").tolist() == expected


def read(text, relative=False, first=0, height=4, width=5):
    runs = runs_from_text(text, "row 1", relative=relative, first=first, order="rows", height=height, width=width)
    starts, lengths = runs.unpacked()
    assert (runs.order, runs.height, runs.width) == ("rows", height, width)
    assert text_of(runs, relative, first) == " ".join(text.split())
    return starts.tolist(), lengths.tolist()


@pytest.mark.parametrize(
    ("text", "relative", "first", "expected"),
    [
        ("2 3", False, 0, ([2], [3])),
        ("0 1", False, 0, ([0], [1])),
        ("1 1", False, 1, ([0], [1])),
        ("2 3 5 2 10 1", False, 0, ([2, 5, 10], [3, 2, 1])),
        (" 2 3  0 2 1 1 ", True, 0, ([2, 5, 8], [3, 2, 1])),
        ("3 3 1 2", True, 1, ([2, 6], [3, 2])),
        ("0 20", False, 0, ([0], [20])),
        ("19 1", False, 0, ([19], [1])),
        ("20 1", False, 1, ([19], [1])),
    ],
)
def test_runs_are_starts_and_lengths(text, relative, first, expected):
    """In a mask of 4 x 5 pixels; relative starts count from the end of the run before."""
    assert read(text, relative, first) == expected


NO_RUNS = (
    *("", "2", "2 3 5", "2 x", "2.5 3", "2 0", "-1 3", "2 -3", "2 3 4 2", "5 2 2 3", "0 21", "20 1", "2 3 18 3"),
    *(f"2 {LARGEST + 1}", f"{LARGEST + 1} 1", "9" * 30 + " 1"),
)


@pytest.mark.parametrize("text", NO_RUNS)
def test_runs_that_cannot_be_are_refused(text):
    with pytest.raises(DataError):
        read(text)


def test_a_start_before_the_first_pixel_is_refused():
    with pytest.raises(DataError, match="overlap or lie outside"):
        read("0 1", first=1)


@pytest.mark.parametrize(("height", "width"), [(None, None), (4, None), (None, 5)])
def test_without_a_size_runs_may_be_anywhere_in_the_largest_image(height, width):
    assert read(f"{LARGEST - 1} 1", height=height, width=width) == ([LARGEST - 1], [1])
    with pytest.raises(DataError):
        read(f"{LARGEST} 1", height=height, width=width)


def test_runs_beyond_the_largest_image_are_refused_whatever_the_size_of_the_mask():
    assert read(f"{LARGEST - 1} 1", height=2**16, width=2**16) == ([LARGEST - 1], [1])
    for text, relative in ((f"{LARGEST} 1", False), (f"{LARGEST - 1} 2", False), (f"{LARGEST - 2} 1 1 1", True)):
        with pytest.raises(DataError, match="overlap or lie outside the mask"):
            read(text, relative, height=2**16, width=2**16)


def coco(counts, size=(4, 5)):
    runs = runs_from_coco({"size": list(size), "counts": counts}, "annotation 1")
    starts, lengths = runs.unpacked()
    assert (runs.order, runs.height, runs.width) == ("columns", *size)
    return starts.tolist(), lengths.tolist()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([2, 3, 15], ([2], [3])),
        ([2, 3, 10, 5], ([2, 15], [3, 5])),
        ([0, 20], ([0], [20])),
        ([2.0, 3.0, 15.0], ([2], [3])),
        ([2, 0, 3, 4, 11], ([5], [4])),
        ([20], ([], [])),
        ([2, 3, 14], None),
        ([2, 3, 16], None),
        ([2, -3, 21], None),
        ([2, 3.5, 14.5], None),
        ([True, 19], None),
        (["2", 18], None),
        (None, None),
        ({"a": 1}, None),
        ("2?", None),
    ],
)
def test_counts_of_coco_begin_with_background_and_fill_the_mask(counts, expected):
    if expected is None:
        with pytest.raises(DataError):
            coco(counts)
    else:
        assert coco(counts) == expected


def test_counts_that_coco_has_compressed_are_the_same():
    pycocotools = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((4, 5), np.uint8, order="F")
    mask[1:3, 1:4] = 1
    counts = pycocotools.encode(mask)["counts"].decode()
    assert coco(counts) == coco(f" {counts}\n") == ([5, 9, 13], [2, 2, 2])


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        *(((1, 2**16 - 1), True), ((2**16 - 1, 1), True), ((1, 1), True), ((1, 2**16), False), ((2**17, 1), False)),
        *(((0, 5), False), ((5, 0), False), ((-1, 5), False), ((True, 5), False), ((4, 5, 6), False), ((4,), False)),
    ],
)
def test_the_size_of_a_mask_is_two_numbers_of_sixteen_bits(size, taken):
    if taken:
        assert coco([0, size[0] * size[1]], size) == ([0], [size[0] * size[1]])
    else:
        with pytest.raises(DataError, match="size"):
            runs_from_coco({"size": list(size), "counts": [0, 1]}, "annotation 1")
    with pytest.raises(DataError, match="size"):
        runs_from_coco({"size": None, "counts": [20]}, "annotation 1")


def test_a_mask_of_more_pixels_than_the_largest_image_is_refused():
    """46,340 squared is below 2 ** 31 - 1, and 46,341 squared above: places of pixels would overflow."""
    pixels = 46340**2
    assert coco([pixels - 1, 1], (46340, 46340)) == ([pixels - 1], [1])
    with pytest.raises(DataError, match="46341 x 46341 pixels is too large"):
        coco([46341**2 - 1, 1], (46341, 46341))


@pytest.mark.parametrize("value", [{"size": None, "counts": [1] * 99}, {"size": [4, 5], "counts": ["1"] * 99}])
def test_a_message_shows_the_first_sixty_characters_of_a_mask(value):
    with pytest.raises(DataError) as caught:
        runs_from_coco(value, "annotation 1")
    assert caught.value.found == f"segmentation is {str(value)[:60]}"


def test_a_message_shows_a_cell_of_forty_characters_and_of_a_longer_one_the_first():
    for text, shown in (("1 " * 19 + "xx", "1 " * 19 + "xx"), ("1 " * 19 + "xxx", "1 " * 18 + "1...")):
        with pytest.raises(DataError) as caught:
            runs_from_text(text, "row 1", relative=False, first=0, order="rows", height=4, width=5)
        assert caught.value.found.startswith(repr(shown)) and len(shown) == 40


@pytest.mark.parametrize("order", ["rows", "columns"])
@pytest.mark.parametrize(
    "filled",
    [
        *([(1, 2)], [(1, 2), (2, 2)], [(0, 0)], [(3, 4)], [(0, 4), (1, 0)], [(1, 0), (1, 1), (2, 3)], [(0, 1), (2, 1)]),
        *([(0, 3), (0, 4), (1, 0)], [(1, n) for n in range(5)], [(y, x) for y in (1, 2) for x in range(5)]),
        *([(y, x) for x in (1, 2) for y in range(4)], [(2, 3), (3, 3), (0, 4)], [(3, 2), (0, 3), (1, 3)]),
    ],
)
def test_the_box_around_runs_is_that_of_their_pixels(order, filled):
    mask = np.zeros((4, 5), bool)
    for y, x in filled:
        mask[y, x] = True
    flat = mask.ravel(order="C" if order == "rows" else "F").astype(int)
    steps = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    starts, lengths = steps[::2].astype(np.int32), (steps[1::2] - steps[::2]).astype(np.int32)
    rows, columns = np.nonzero(mask)
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert bounding_box(Runs(starts, lengths, order, 4, 5), 4, 5) == expected


@pytest.mark.parametrize(
    ("agreement", "needed"), [("any", [1, 1, 1, 1, 1]), ("majority", [1, 2, 2, 3, 3]), ("all", [1, 2, 3, 4, 5])]
)
def test_readers_who_must_agree(agreement, needed):
    assert [votes_needed(agreement, count) for count in range(1, 6)] == needed


@pytest.mark.parametrize(
    ("column", "any_of", "majority", "everyone"),
    [
        ([1, 1, 1], 1, 1, 1),
        ([1, 1, 0], 1, 1, NAN),
        ([1, 0, 0], 1, NAN, NAN),
        ([0, 0, 0], 0, 0, 0),
        ([1, NAN, NAN], 1, 1, 1),
        ([1, 0, NAN], 1, NAN, NAN),
        ([1, 1, NAN], 1, 1, 1),
        ([0, NAN, NAN], 0, 0, 0),
        ([NAN, NAN, NAN], NAN, NAN, NAN),
    ],
)
def test_labels_that_readers_agree_on(column, any_of, majority, everyone):
    labels = np.array([column]).T
    for agreement, expected in (("any", any_of), ("majority", majority), ("all", everyone)):
        np.testing.assert_equal(agreed_labels(labels, agreement), np.array([expected], np.float32))


def agreed(*rows, votes=2, iou=0.5):
    boxes, classes, readers = zip(*rows, strict=True)
    sure, disputed = agreed_boxes(boxes, classes, readers, votes, iou)
    return list(zip(sure.boxes, sure.classes, strict=True)), list(zip(disputed.boxes, disputed.classes, strict=True))


SQUARE = [10, 20, 20, 30]


def test_boxes_of_one_object_become_their_mean():
    """By hand: the third box meets the mean of the first two."""
    third = [10, 20, 23, 33]
    assert agreed((SQUARE, 1, "a"), ([12, 20, 22, 30], 1, "b")) == ([([11, 20, 21, 30], 1)], [])
    rows = (SQUARE, 1, "a"), ([12, 20, 22, 30], 1, "b"), (third, 1, "c")
    ((mean, index),) = agreed(*rows, votes=3)[0]
    assert index == 1 and mean == pytest.approx([32 / 3, 20, 65 / 3, 31])


@pytest.mark.parametrize(("iou", "joined"), [(0.5, True), (0.51, False)])
def test_boxes_join_from_the_overlap_that_is_asked_for_on(iou, joined):
    """100 of 200 pixels: an overlap of exactly one half."""
    found = agreed((SQUARE, 0, "a"), ([10, 20, 20, 40], 0, "b"), iou=iou)
    assert found == (([([10, 20, 20, 35], 0)], []) if joined else ([], [(SQUARE, 0), ([10, 20, 20, 40], 0)]))


@pytest.mark.parametrize(
    "other",
    [
        (SQUARE, 1, "b"),
        (SQUARE, 0, "a"),
        ([30, 40, 40, 50], 0, "b"),
        ([20, 20, 30, 30], 0, "b"),
        ([10, 40, 20, 50], 0, "b"),
        ([15, 20, 25, 30], 0, "b"),
        ([10, 25, 20, 35], 0, "b"),
    ],
)
def test_boxes_of_other_classes_the_same_reader_or_another_place_are_apart(other):
    assert agreed((SQUARE, 0, "a"), other) == ([], [(SQUARE, 0), (list(other[0]), other[1])])


def test_a_box_joins_the_object_that_it_overlaps_most():
    """Both overlap enough, by 100 of 120 and of 200 pixels, whichever comes first."""
    near, far = ([10, 20, 20, 32], 0, "a"), ([10, 20, 20, 40], 0, "a")
    for first, second in ((near, far), (far, near)):
        found = agreed(first, second, (SQUARE, 0, "b"), iou=0.5)
        assert found == ([([10, 20, 20, 31], 0)], [([10, 20, 20, 40], 0)])
    assert agreed((SQUARE, 0, "a"), votes=1) == ([(SQUARE, 0)], [])
