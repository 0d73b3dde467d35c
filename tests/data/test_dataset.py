"""From annotations and files to samples; what does not fit is named with file and row."""

import cv2
import numpy as np
import pytest

from foundationx.core.errors import DataError
from foundationx.core.types import UNKNOWN_PIXEL, Annotations, MaskPart, Task, TaskKey
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.tasks.detection.target import Boxes

SIZE = (40, 60)


def annotations(task, **targets):
    labels = targets.pop("labels", np.array([[1.0, np.nan]], np.float32))
    names = {"images": ["images/x.png"], "patients": ["p"], "rows": ["table.csv row 7"], "splits": [None]}
    return Annotations(TaskKey("a", task), ("one", "two"), labels=labels, **names, **targets)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "x.png"), np.full(SIZE, 90, np.uint8))
    return tmp_path


def sample(table, root, size=64):
    return CardDataset(table, root, ViewPipeline(size)).sample(0, seed=0)


def write_mask(root, values, name="mask.png"):
    cv2.imwrite(str(root / name), values)
    return name


def test_a_labelled_image(root):
    result = sample(annotations(Task.CLASSIFICATION), root)
    assert result.image.shape == (64, 64) and result.labels[0] == 1 and np.isnan(result.labels[1])
    assert (result.meta.height, result.meta.width) == SIZE and result.meta.row == "table.csv row 7"
    assert result.target is None


def boxed(*boxes):
    return annotations(Task.DETECTION, targets=[Boxes(np.array(boxes, np.float32), np.zeros(len(boxes), np.int64))])


def test_boxes_follow_the_resize_and_rounding_is_forgiven(root):
    result = sample(boxed([-0.5, 10, 30, 40.9]), root)
    np.testing.assert_allclose(result.target.boxes, [[0, 16, 32, 64]])


@pytest.mark.parametrize("box", [[-2, 0, 10, 10], [0, 0, 62, 10], [0, 0, 10, 300]])
def test_a_box_outside_its_image_names_file_row_and_size(root, box):
    with pytest.raises(DataError, match="lies outside the image of 60 x 40 pixels") as caught:
        sample(boxed([0, 0, 5, 5], box), root)
    assert "table.csv row 7" in str(caught.value) and "images/x.png" in str(caught.value)
    assert str(float(box[3])) in str(caught.value)


def test_a_box_of_which_nothing_is_left_in_the_image_is_refused(root):
    for box in ([-0.9, 3, -0.1, 9], [60, 3, 60.8, 9], [np.nan, 0, 5, 5]):
        with pytest.raises(DataError, match=r"table\.csv row 7 \(images/x\.png\): box"):
            sample(boxed(box), root)


def test_no_box_is_a_known_negative(root):
    result = sample(boxed(), root)
    assert result.target.boxes.shape == (0, 4) and result.target.box_classes.shape == (0,)


def masked(*parts, labels=(1.0, np.nan)):
    return annotations(Task.SEGMENTATION, targets=[tuple(parts)], labels=np.array([labels], np.float32))


def test_a_class_that_was_not_annotated_is_unknown_everywhere(root):
    values = np.zeros(SIZE, np.uint8)
    values[10:20, 5:25] = 255
    result = sample(masked(MaskPart(0, file=write_mask(root, values))), root, size=60)
    assert result.target.masks[0].sum() == 15 * 20 and (result.target.masks[1] == UNKNOWN_PIXEL).all()


def test_positive_and_ignored_values(root):
    values = np.zeros(SIZE, np.uint8)
    values[:10], values[10:20], values[20:30] = 255, 127, 9
    result = sample(masked(MaskPart(0, file=write_mask(root, values), positive=255, ignore=127)), root, size=40)
    assert (result.target.masks[0][:10] == 1).all() and (result.target.masks[0][10:20] == UNKNOWN_PIXEL).all()
    assert not result.target.masks[0][20:].any(), "another value is background where one is named"


def test_the_ignored_value_is_unknown_also_where_any_other_is_foreground(root):
    values = np.zeros(SIZE, np.uint8)
    values[:10], values[10:20], values[20:30] = 255, 127, 9
    result = sample(masked(MaskPart(0, file=write_mask(root, values), ignore=127)), root, size=40).target.masks[0]
    assert (result[:10] == 1).all() and (result[10:20] == UNKNOWN_PIXEL).all() and (result[20:30] == 1).all()
    assert not result[30:].any()


@pytest.mark.parametrize("first", [0, 1])
def test_what_one_part_marks_is_known_though_another_ignores_it(root, first):
    marked, ignored = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    marked[:20], ignored[10:30] = 255, 127
    parts = [
        MaskPart(0, file=write_mask(root, values, name), positive=255, ignore=127)
        for values, name in ((marked, "marked.png"), (ignored, "ignored.png"))
    ]
    result = sample(masked(parts[first], parts[1 - first]), root, size=40).target.masks[0]
    assert (result[:20] == 1).all() and (result[20:30] == UNKNOWN_PIXEL).all() and not result[30:].any()


def test_a_polygon_outside_its_image_names_file_row_and_size(root):
    square = np.array([[0, 0], [60.9, 0], [60.9, 40], [-0.9, 40]], np.float32)
    assert sample(masked(MaskPart(0, polygon=square)), root).target.masks[0].all(), "rounding is forgiven"
    with pytest.raises(DataError, match=r"row 7 \(images/x\.png\): polygon of 4 points lies outside .* 60 x 40 pixels"):
        sample(masked(MaskPart(0, polygon=square * 2)), root)


def test_parts_of_a_class_are_united_and_classes_may_overlap(root):
    left = np.array([[0, 0], [10, 0], [10, 40], [0, 40]], np.float32)
    middle = np.array([[20, 0], [30, 0], [30, 40], [20, 40]], np.float32)
    parts = MaskPart(0, polygon=left), MaskPart(0, polygon=middle), MaskPart(1, polygon=left)
    result = sample(masked(*parts, labels=(1.0, 1.0)), root, size=60)
    assert result.target.masks[0][:, [5, 25]].all() and not result.target.masks[0][:, [15, 40]].any()
    assert result.target.masks[1][:, 5].all() and not result.target.masks[1][:, 25].any()


def test_a_known_negative_is_an_empty_mask(root):
    result = sample(masked(labels=(0.0, 0.0)), root)
    assert not result.target.masks.any()


def test_a_mask_of_another_size_names_both(root):
    name = write_mask(root, np.zeros((10, 20), np.uint8))
    with pytest.raises(DataError, match="the mask has 20 x 10 pixels") as caught:
        sample(masked(MaskPart(0, file=name)), root)
    assert "table.csv row 7 (mask.png)" in str(caught.value) and "60 x 40" in str(caught.value)


def test_unreadable_images_and_masks_are_named(root):
    with pytest.raises(DataError, match=r"table\.csv row 7: .*gone\.png: cannot be opened"):
        sample(masked(MaskPart(0, file="gone.png")), root)
    (root / "images" / "x.png").write_text("none")
    dataset = CardDataset(annotations(Task.CLASSIFICATION), root, ViewPipeline(64))
    with pytest.raises(DataError, match=r"table\.csv row 7: .*images/x\.png: is not an image") as caught:
        dataset.sample(0, 0)
    entry = dataset.bad(0, caught.value)
    assert (entry.file, entry.row) == ("images/x.png", "table.csv row 7") and "not an image" in entry.reason
