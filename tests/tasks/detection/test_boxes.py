"""Geometry of boxes: values by hand, a slow reference in whole numbers, tiny and degenerate boxes."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.tasks.detection.boxes import focal_loss, generalised_iou, to_centre_and_size, to_corners

CELLS = 40


def slow_giou(first, second):
    """Counts the cells of a grid, in exact fractions."""

    def cells(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    corners = [*zip(first, second, strict=True)]
    hull = cells([min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3])])
    union, overlap = cells(first) | cells(second), cells(first) & cells(second)
    return float(Fraction(len(overlap), len(union)) - Fraction(len(hull) - len(union), len(hull)))


@st.composite
def grid_boxes(draw):
    """Corners on whole cells, at least one cell large."""
    x, y = draw(st.tuples(*[st.integers(0, CELLS - 1)] * 2))
    return [x, y, draw(st.integers(x + 1, CELLS)), draw(st.integers(y + 1, CELLS))]


@settings(max_examples=60, deadline=None)
@given(first=grid_boxes(), second=grid_boxes())
def test_giou_counts_what_a_grid_counts(first, second):
    boxes = torch.tensor([first, second]) / CELLS
    expected = slow_giou(first, second)
    assert generalised_iou(boxes[0], boxes[1]).item() == pytest.approx(expected, abs=1e-5)
    assert generalised_iou(boxes[1], boxes[0]).item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(to_corners(to_centre_and_size(boxes)), boxes)


@pytest.mark.parametrize("side", [0.5, 1e-2, 1e-3, 2.5e-4])
def test_a_box_of_any_size_down_to_one_pixel_equals_itself(side):
    corners = to_corners(torch.tensor([0.3, 0.7, side, side]))
    assert generalised_iou(corners, corners).item() == pytest.approx(1, abs=1e-3)
    half = to_corners(torch.tensor([0.3 + side / 2, 0.7, side, side]))
    # Half a side apart: a third of the union is shared, and the hull is the union.
    assert generalised_iou(corners, half).item() == pytest.approx(1 / 3, abs=1e-2)


@pytest.mark.parametrize("size", [(0.0, 0.0), (0.0, 0.3), (1e-6, 1e-6)])
def test_a_flat_prediction_is_pulled_without_breaking(size):
    target = to_corners(torch.tensor([0.5, 0.5, 0.2, 0.2]))
    boxes = torch.tensor([0.8, 0.5, *size], requires_grad=True)
    value = generalised_iou(to_corners(boxes), target)
    value.backward()
    assert -1 <= value <= 1 and boxes.grad.isfinite().all()
    assert boxes.grad[0] < 0, "a box to the right of its target is drawn to the left"


def test_focal_loss_by_hand():
    # p = 0.5: 0.5^2 * log 2, a quarter of it for positives, three quarters for negatives.
    values = focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert values.tolist() == pytest.approx([0.25 * 0.25 * 0.693147, 0.75 * 0.25 * 0.693147], abs=1e-6)
    certain = torch.tensor([80.0, -80.0], requires_grad=True)
    right, wrong = focal_loss(certain, torch.tensor([1.0, 0.0])), focal_loss(certain, torch.tensor([0.0, 1.0]))
    assert right.tolist() == [0, 0] and wrong.tolist() == pytest.approx([60, 20])
    (right + wrong).sum().backward()
    assert certain.grad.tolist() == pytest.approx([0.75, -0.25])
