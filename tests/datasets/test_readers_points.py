"""Readers of named points: what is visible, absent and unknown, and where; by name, never by position."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.errors import CardError
from foundationx.core.types import ReferenceSize
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.tasks import TaskSource
from foundationx.datasets.readers._coco_points import add_keypoints
from foundationx.datasets.readers.point_lists_csv import resampled
from tests.helpers.reader_cards import Folder, fault, make_card

NAN = np.nan


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    made.files("images/a.png", "images/b.png", "images/c.png")
    return made


def card(reader, classes, **options):
    more = {key: options.pop(key) for key in ("mirror_pairs",) if key in options}
    return make_card(reader, classes, "keypoints", file="points.csv", images="images", options=options, **more)


def listed(classes=("apex", "base"), **options):
    return card("keypoints_csv", classes, **({"image_column": "image", "point_column": "point"} | options))


def same(found, wanted):
    return np.array_equal(np.array(found, np.float32), np.array(wanted, np.float32), equal_nan=True)


# ---- cards


def test_a_class_with_points_is_a_class_for_each_by_name():
    spec = TaskSource(
        reader="any",
        classes=[{"name": "Lung", "sources": ["lung", "LUNG"], "canonical": "lung", "points": ["apex", "base"]}, "x"],
    )
    assert [item.name for item in spec.classes] == ["Lung/apex", "Lung/base", "x"]
    assert spec.classes[1].published == ("lung/base", "LUNG/base") and spec.classes[1].relation == "related"
    again = TaskSource.model_validate(spec.model_dump())
    assert again == spec, "what is written into a file is read as it was"


def test_pairs_of_classes_are_pairs_of_their_points_in_any_order():
    sides = [{"name": "Left", "points": ["apex", "base"]}, {"name": "Right", "points": ["base", "apex"]}]
    spec = TaskSource(reader="any", classes=sides, mirror_pairs=[["Left", "Right"]])
    assert spec.mirror_pairs == (("Left/apex", "Right/apex"), ("Left/base", "Right/base"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": [{"name": "a", "points": 1}]}, "1 points; a line has from 2"),
        ({"classes": [{"name": "a", "points": ["x", "x"]}]}, "the point 'x' is given twice"),
        ({"classes": [{"name": "a", "points": ["x"]}, "a/x"]}, "the class 'a/x' is given twice"),
        (
            {"classes": [{"name": "l", "points": 2}, {"name": "r", "points": 3}], "mirror_pairs": [["l", "r"]]},
            "the points of 'l' and 'r' differ",
        ),
    ],
)
def test_points_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TaskSource.model_validate({"reader": "any", "mirror_pairs": []} | change)


# ---- a row per point, and columns per point


def test_rows_are_taken_by_the_name_of_the_point(folder):
    folder.write("points.csv", "image,point,x,y\na.png,base,3,4\na.png,apex,1.5,2.25\nb.png,apex,7,8\n")
    found = folder.read(listed())
    assert same(found.labels, [[1, 1], [1, NAN]]) and same(found.targets[0].points, [[1.5, 2.25], [3, 4]])
    assert same(folder.read(listed(absent="negative")).labels, [[1, 1], [1, 0]])
    assert same(folder.read(listed(("base", "apex"))).targets[0].points, [[3, 4], [1.5, 2.25]])


def test_a_column_says_what_is_visible_absent_and_unknown(folder):
    rows = "a.png,apex,1,2,yes\na.png,base,,,yes\nb.png,apex,1,2,no\nb.png,base,,,?\n"
    folder.write("points.csv", f"image,point,x,y,seen\n{rows}")
    states = {"yes": "visible", "no": "absent", "?": "unknown"}
    found = folder.read(listed(visible_column="seen", states=states))
    assert same(found.labels, [[1, 1], [0, NAN]])
    assert same(found.targets[0].points, [[1, 2], [NAN, NAN]]), "visible somewhere"
    assert same(found.targets[1].points, [[NAN, NAN]] * 2), "what is absent has no place"
    folder.write("points.csv", f"image,point,x,y,seen\n{rows}c.png,apex,1,2,perhaps\n")
    error = fault(folder, listed(visible_column="seen", states=states))
    assert (error.where, error.found) == ("points.csv row 6", "'perhaps' in the column of visibility")


def test_a_row_with_columns_for_each_point_by_their_published_names(folder):
    folder.write("points.csv", "image,y BASE,x BASE,apex_x,x apex,y apex\na.png,4,3,9,1,2\nb.png,,,9,5,6\n")
    classes = ["apex", {"name": "base", "sources": ["Base", "BASE"]}]
    found = folder.read(
        card("keypoints_csv", classes, image_column="image", x_column="x {point}", y_column="y {point}")
    )
    assert same(found.labels, [[1, 1], [1, NAN]]) and same(found.targets[0].points, [[1, 2], [3, 4]])
    missing = card("keypoints_csv", ["hilum"], image_column="image", x_column="x {point}", y_column="y {point}")
    assert "there are no columns 'x hilum' and 'y hilum'" in fault(folder, missing).found


def test_one_point_needs_no_name_and_several_do(folder):
    folder.write("points.csv", "image,x,y\na.png,3,4\n")
    one = card("keypoints_csv", ["Nodule"], image_column="image")
    assert same(folder.read(one).targets[0].points, [[3, 4]])
    with pytest.raises(CardError, match="point_column: is null for 2 points"):
        folder.read(card("keypoints_csv", ["a", "b"], image_column="image"))
    with pytest.raises(CardError, match="exclude each other"):
        folder.read(listed(x_column="{point}_x", y_column="{point}_y"))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("a.png,apex,1,2", "says of apex what an earlier row has said"),
        ("b.png,hilum,1,2", "'hilum' is not a class"),
        ("b.png,apex,1,inf", "found ['1', 'inf']"),
        ("b.png,apex,1,", "found ['1', '']"),
        ("b.png,apex,101.5,2", "the point [101.5, 2] lies outside its image of 100 x 50 pixels"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(folder, row, found):
    folder.write("points.csv", f"image,point,x,y\na.png,apex,1,2\n{row}\n")
    error = fault(folder, listed(reference_size=[100, 50]))
    assert found in error.found and error.where == "points.csv row 3"


def test_points_beyond_the_rim_may_be_absent(folder):
    folder.write("points.csv", "image,point,x,y\na.png,apex,120,20\na.png,base,20,20\n")
    found = folder.read(listed(reference_size=[100, 50], outside="absent"))
    assert same(found.labels, [[0, 1]]) and same(found.targets[0].points, [[NAN, NAN], [20, 20]])


def test_spacing_is_a_number_two_or_a_column(folder):
    folder.write("points.csv", "image,point,x,y,mm,w,h\na.png,apex,1,2,0.5,0.1,0.2\nb.png,apex,1,2,,0.1,0.2\n")
    spacing = lambda given: [target.spacing.tolist() for target in folder.read(listed(spacing=given)).targets]  # noqa: E731
    assert spacing(0.25) == [[0.25, 0.25]] * 2
    assert spacing(["w", "h"])[0] == pytest.approx([0.1, 0.2])
    assert spacing("mm")[0] == [0.5, 0.5] and np.isnan(spacing("mm")[1]).all()
    folder.write("points.csv", "image,point,x,y,mm\na.png,apex,1,2,-1\n")
    assert fault(folder, listed(spacing="mm")).found == "mm is '-1'"


def test_points_fit_copies_of_another_size(folder):
    folder.write("points.csv", "image,point,x,y\na.png,apex,50,25\n")
    found = folder.read(listed(reference_size=[100, 50], spacing=0.4))
    assert found.sizes["images/a.png"] == ReferenceSize(50, 100)
    target = CardDataset(found, folder.path, ViewPipeline(32)).target(0, (100, 200))
    assert same(target.points, [[100, 50], [NAN, NAN]]) and target.spacing == pytest.approx([0.2, 0.2])


# ---- lists of points in a cell


LUNGS = [{"name": "Left", "sources": ["LL"], "points": 3}, {"name": "Right", "sources": ["RL"], "points": 2}]


ARRAY = str(np.arange(1, 11).reshape(5, 2))
"""As NumPy prints an array, which is how CheXmask's files at the original resolution hold landmarks."""


def cells(classes=LUNGS, **options):
    return card("point_lists_csv", classes, **({"image_column": "image", "points_column": "points"} | options))


@pytest.mark.parametrize("cell", ["1,2,3,4,5,6,7,8,9,10", "[[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]", ARRAY])
def test_all_points_of_an_image_in_the_order_of_the_named_groups(folder, cell):
    folder.write("points.csv", f'image,points,quality\na.png,"{cell}",0.9\nb.png,"{cell}",0.2\n')
    found = folder.read(cells(groups=["RL", "LL"], quality_column="quality", quality_least=0.5))
    assert found.images == ["images/a.png"] and found.classes == ("Left/1", "Left/2", "Left/3", "Right/1", "Right/2")
    assert same(found.targets[0].points, [[5, 6], [7, 8], [9, 10], [1, 2], [3, 4]])
    folder.write("points.csv", 'image,points\na.png,"1,2,3,4"\n')
    assert fault(folder, cells(groups=["RL", "LL"])).found == "has 2 points"
    with pytest.raises(CardError, match="'XL' is no class with points"):
        folder.read(cells(groups=["XL"]))


def tubes(**options):
    classes = [{"name": "Tube", "sources": ["ok", "bad"], "points": 3}, {"name": "Line", "points": 2}]
    return cells(classes, class_column="what", resample=True, ignore=["wire"], **options)


def test_a_traced_line_becomes_points_at_equal_distances(folder):
    folder.write(
        "points.csv",
        'image,what,points\na.png,ok,"[[0, 0], [0, 6], [4, 6]]"\na.png,wire,"[[1, 1], [2, 2]]"\n'
        'b.png,Line,"[[5, 9], [5, 1]]"\nc.png,bad,"[[0, 0], [2, 0]]"\nc.png,ok,"[[0, 5], [2, 5]]"\n',
    )
    assert fault(folder, tubes()).found == "says of Tube/1 what an earlier row has said"
    found = folder.read(tubes(repeated="unplaced"))
    assert same(found.targets[0].points, [[0, 0], [0, 5], [4, 6], [NAN, NAN], [NAN, NAN]])
    assert same(found.targets[1].points[3:], [[5, 9], [5, 1]])
    assert same(folder.read(tubes(start="top", repeated="unplaced")).targets[1].points[3:], [[5, 1], [5, 9]])
    assert same(found.labels, [[1, 1, 1, NAN, NAN], [NAN, NAN, NAN, 1, 1], [1, 1, 1, NAN, NAN]])
    assert np.isnan(found.targets[2].points).all(), "two lines of one class: visible, but which is meant is not known"
    assert found.mirror_pairs == ()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ('b.png,ok,"[[1, 1], [1, 1]]"', "less than two different points"),
        ("b.png,ok,nothing", "found ['nothing']"),
        ("b.png,ok,", "found ''"),
        ('b.png,ok,"[[1], [2]]"', "found ['1']"),
        ('b.png,ok,"1,2,3"', "found ['3']"),
        ('b.png,rod,"[[1, 1], [2, 2]]"', "'rod' is not a class of tiny"),
    ],
)
def test_a_cell_that_holds_no_line_is_named(folder, row, found):
    folder.write("points.csv", f'image,what,points\na.png,ok,"[[0, 0], [0, 6]]"\n{row}\n')
    error = fault(folder, tubes())
    assert found in error.found and error.where == "points.csv row 3"
    assert folder.read(tubes(), skip=True).images == ["images/a.png"]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8),
    st.integers(2, 12),
)
def test_resampled_points_lie_on_the_line_at_equal_distances(line, count):
    line = np.array(line)
    pieces = np.hypot(*np.diff(line, axis=0).T)
    total = pieces.sum()
    found = resampled(line, count)
    if total == 0:
        assert found is None
        return
    for number, point in enumerate(found):  # walk the wanted distance piece by piece
        left = total * number / (count - 1)
        for piece, (start, end) in zip(pieces, pairwise(line), strict=True):
            if left <= piece + 1e-9 * total and piece > 0:
                wanted = start + (end - start) * min(1, left / piece)
                break
            left -= piece
        else:
            wanted = line[-1]
        assert np.hypot(*(point - wanted)) <= 1e-6 * max(total, 1)


# ---- COCO


def coco(folder, annotations, names=("apex", "base")):
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 50} for n in "abc"],
        "categories": [{"id": 1, "name": "lung", "keypoints": list(names)}, {"id": 2, "name": "other"}],
        "annotations": [{"id": n, "image_id": "a", "category_id": 1} | own for n, own in enumerate(annotations)],
    }
    folder.write("points.csv", json.dumps(content))
    return content


def keypoints(*values, **more):
    return {"keypoints": list(values)} | more


CLASSES = [{"name": "Lung", "sources": ["lung"], "points": ["base", "apex"]}]


def test_coco_keypoints_by_name_with_their_flags(folder):
    coco(folder, [keypoints(1, 2, 2, 0, 0, 0), keypoints(5, 6, 1, 7, 8, 2, image_id="b"), {"category_id": 2}])
    found = folder.read(card("coco", CLASSES))
    assert found.classes == ("Lung/base", "Lung/apex")
    assert same(found.labels, [[NAN, 1], [1, 1], [0, 0]]), "v = 0 is unknown; an image without an object has none"
    assert same(found.targets[0].points, [[NAN, NAN], [1, 2]]) and same(found.targets[1].points, [[7, 8], [5, 6]])
    alone = folder.read(card("coco", ["apex"]))
    assert same(alone.labels, [[1], [1], [0]]), "a point may be named without its category"


def test_coco_crowds_and_objects_without_keypoints_are_unknown(folder):
    coco(folder, [keypoints(1, 2, 2, 3, 4, 2, iscrowd=1), {"image_id": "b"}])
    assert same(folder.read(card("coco", CLASSES)).labels, [[NAN, NAN], [NAN, NAN], [0, 0]])


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        ([keypoints(1, 2, 2)], "has 3 numbers for 2 keypoints"),
        ([keypoints(1, 2, 3, 0, 0, 0)], "v of lung/apex is 3"),
        ([keypoints(1, 2, 2, 0, 0, 0)] * 2, "says of Lung/apex what an earlier row has said"),
        ([keypoints(1, 60, 2, 0, 0, 0)], "the point [1, 60] lies outside its image of 100 x 50"),
        ([keypoints(1, None, 2, 0, 0, 0)], "found [1, None]"),
    ],
)
def test_coco_keypoints_that_make_no_sense_are_named(folder, annotations, found):
    coco(folder, annotations)
    assert found in fault(folder, card("coco", CLASSES)).found


def test_a_point_that_no_category_has_is_named(folder):
    coco(folder, [])
    error = fault(folder, card("coco", ["hilum"]))
    assert "there is no category 'hilum' for the class hilum" in error.found


# ---- what others' files may cost


LINE = card("point_lists_csv", [{"name": "L", "points": 3}], image_column="image", points_column="points",
            class_column="class", resample=True)  # fmt: skip


@pytest.mark.parametrize("pair", ["[1,2],", "[1]", "1 2 ", "1,"])
def test_a_cell_of_endless_points_is_refused_before_it_is_taken_apart(folder, pair, monkeypatch):
    folder.write("points.csv", f'image,class,points\na.png,L,"[{pair * 210_000}[3,4]]"\n')

    def numbers(values, count, where):
        raise AssertionError("a point was read")

    monkeypatch.setattr("foundationx.datasets.readers.point_lists_csv.numbers", numbers)
    error = fault(folder, LINE)
    assert "found more" in error.found and "100,000 points" in error.expected and len(str(error)) < 400


@pytest.mark.parametrize(
    "cell", ["nan nan 1 2", "inf 1 2 3", "[[nan,nan],[1,2]]", "[[1e400,0],[1,2]]", "[[],[]]", "[["]
)
def test_points_that_are_no_numbers_are_refused(folder, cell):
    folder.write("points.csv", f'image,class,points\na.png,L,"{cell}"\n')
    error = fault(folder, LINE)
    assert error.where == "points.csv row 2" and "numbers" in error.expected


def test_a_card_of_endless_points_is_refused_before_it_makes_them():
    classes = [{"name": f"L{number}", "points": 1000} for number in range(9000)]
    with pytest.raises(ValueError, match="9,000,000 classes and points; a card has up to 20,000"):
        TaskSource.model_validate({"reader": "any", "classes": classes})


OTHERS_COCO = make_card("coco", ["Lung/apex", "Lung/base"], "keypoints", file="points.csv", images="images")


def one_object(folder, keypoints, names=("apex", "base"), **more):
    image = {"id": 1, "file_name": "a.png", "width": 100, "height": 100}
    marked = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints} | more
    category = {"id": 1, "name": "Lung", "keypoints": names, "skeleton": [[1, 99]]}
    folder.write("points.csv", json.dumps({"images": [image], "categories": [category], "annotations": [marked]}))


ODD_KEYPOINTS = {
    "too few": [1, 2],
    "text": ["1", "2", "2", "3", "4", "2"],
    "nested": [[1, 2, 2], [3, 4, 2]],
    "not a number": [float("nan"), 1, 2, 3, 4, 2],
    "endless": [float("inf"), 1, 2, 3, 4, 2],
    "a flag that is none": [1, 2, {}, 3, 4, []],
    "another flag": [1, 2, 9, 3, 4, 2],
    "a number beyond floats": [10**400, 1, 2, 3, 4, 2],
    "outside": [-5, 1, 2, 3, 4, 2],
}


@pytest.mark.parametrize("keypoints", ODD_KEYPOINTS.values(), ids=ODD_KEYPOINTS)
def test_odd_keypoints_of_coco_are_refused_by_their_annotation(folder, keypoints):
    one_object(folder, [1, 2, 2, 3, 4, 1])
    assert same(folder.read(OTHERS_COCO).targets[0].points, [[1, 2], [3, 4]])
    one_object(folder, keypoints)
    error = fault(folder, OTHERS_COCO)
    assert error.where == "points.csv annotation 1" and len(str(error)) < 1300


@pytest.mark.parametrize("names", [None, "apexbase", [None, {"a": 1}], ["apex", "apex"], [["apex", "base"]]])
def test_odd_names_of_keypoints_are_refused(folder, names):
    one_object(folder, [1, 2, 2, 3, 4, 1], names)
    assert fault(folder, OTHERS_COCO).where == "points.csv categories"


def test_an_object_without_keypoints_does_not_cost_a_look_at_every_name():
    """A file of a few megabytes can name a million points and hold a million objects."""
    marked = []

    class Points:
        def mark(self, index, label, where):
            marked.append((index, label))

    class Names(list):
        def __iter__(self):
            raise AssertionError("the names are looked at")

    add_keypoints(Points(), Names(["a", "b"]), [0, 3], {"keypoints": []}, "here")
    add_keypoints(Points(), Names(["a", "b"]), [1], {"keypoints": [1, 2, 2, 3, 4, 2], "iscrowd": 1}, "here")
    assert [index for index, _ in marked] == [0, 3, 1] and all(np.isnan(label) for _, label in marked)
