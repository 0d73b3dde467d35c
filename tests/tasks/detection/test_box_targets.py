"""Boxes on their way to the loss, by hand: other sizes of the image, flips, repeated ones, shares of a batch."""

import numpy as np
import pytest
import torch

from foundationx.core.types import ReferenceSize
from foundationx.data.transforms.geometric import Move
from foundationx.tasks.detection import target
from foundationx.tasks.detection.target import Boxes


def boxes_of(corners, classes, ignored=(), ignored_classes=()):
    float_boxes = [np.array(values, np.float32).reshape(-1, 4) for values in (corners, ignored)]
    return Boxes(float_boxes[0], np.array(classes, np.int64), float_boxes[1], np.array(ignored_classes, np.int64))


def test_a_batch_has_centres_and_sizes_as_shares_of_a_wide_image(monkeypatch):
    one = boxes_of([[10, 20, 30, 60], [0, 0, 200, 100]], [3, 1], [[50, 10, 150, 30]], [2])
    none = boxes_of([], [])
    made = {}

    class Batch:
        def __init__(self, **fields):
            made.update(fields)
            self.ignored_boxes = self.ignored_classes = None

    monkeypatch.setattr(target, "DetectionBatch", Batch)
    batch = target.collate({}, [none, one], (100, 200))
    padding = torch.zeros(2, 4)
    centred = torch.tensor([[0.1, 0.4, 0.1, 0.4], [0.5, 0.5, 1.0, 1.0]])
    torch.testing.assert_close(made["centred_boxes"], torch.stack([padding, centred]))
    assert made["box_classes"].tolist() == [[-1, -1], [3, 1]]
    torch.testing.assert_close(batch.ignored_boxes, torch.tensor([[[0.0] * 4], [[0.5, 0.2, 0.5, 0.2]]]))
    assert batch.ignored_classes.tolist() == [[-1], [2]]
    assert target.collate({}, [none, none], (100, 200)).ignored_boxes is None


def test_what_reaches_a_little_beyond_its_size_of_reference_is_cut_before_it_is_enlarged():
    """100 x 50 to 400 x 100; within a pixel of the rim all is cut, beyond it nothing is."""
    reference = ReferenceSize(50, 100)
    given = boxes_of([[-1, -0.5, 101, 50.5], [-2, 5, 10, 20], [10, 5, 102, 52]], [0, 0, 0], [[98, 40, 100.5, 50]], [1])
    found = target.scaled(given, reference, (100, 400))
    assert found.boxes.tolist() == [[0, 0, 400, 100], [-8, 10, 40, 40], [40, 10, 408, 104]]
    assert found.ignored.tolist() == [[392, 80, 400, 100]] and found.ignored_classes.tolist() == [1]


def test_boxes_follow_an_image_to_a_square_and_a_flip_changes_their_classes():
    given = boxes_of([[10, 20, 30, 40]], [0], [[0, 0, 200, 100]], [2])
    square = given.resized((100, 200), 50)
    assert square.boxes.tolist() == [[2.5, 10, 7.5, 20]] and square.ignored.tolist() == [[0, 0, 50, 50]]
    flipped = square.mirrored(np.array([2, 1, 0]))
    assert flipped.box_classes.tolist() == [2] and flipped.ignored_classes.tolist() == [0]


def test_a_box_is_repeated_if_class_and_corners_are_those_of_an_earlier_one():
    corners = [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 5]]
    assert target.repeated(boxes_of(corners, [0, 1, 0, 0])).tolist() == [False, False, True, False]


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("below", [False, True])
def test_a_box_across_a_corner_stays_from_a_quarter_of_its_area_on(right, below):
    """20 x 40 pixels of which 10 columns and 20.1 or 19.9 rows are in view: a share of 0.251 or 0.249."""
    for rows, stays in ((20.1, True), (19.9, False)):
        x1, y1 = 90.0 if right else -10.0, 100 - rows if below else rows - 40
        moved = boxes_of([[x1, y1, x1 + 20, y1 + 40]], [3]).moved(Move(100, None, False, (0, 0, 100, 100)))
        assert moved.box_classes.tolist() == ([3] if stays else [])
        seen = [max(x1, 0), max(y1, 0), min(x1 + 20, 100), min(y1 + 40, 100)]
        np.testing.assert_allclose(moved.boxes, [seen] if stays else np.zeros((0, 4)), atol=1e-4)
