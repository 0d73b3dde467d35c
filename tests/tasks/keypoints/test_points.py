"""Points travel with the pixels: against slow transforms, against drawn spots, and against themselves."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.config.views import GeometryConfig
from foundationx.core.errors import DataError
from foundationx.core.types import ReferenceSize, SampleMeta, Task, TaskKey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.data.transforms.geometric import Move, Moves
from foundationx.tasks.definition import SourceImage, task_of
from foundationx.tasks.keypoints import target
from foundationx.tasks.keypoints.target import Points

TASK = Task("keypoints")
SIDE = 64
GEOMETRY = {"rotate": 20.0, "scale": 0.2, "shift": 0.1, "hflip": 0.5, "crop_scale": (0.5, 1.0)}
coordinates = st.floats(0, SIDE, width=32)
lists = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6)
seeds = st.integers(0, 2**31)


def points(places, visible=None, spacing=(np.nan, np.nan)):
    places = np.array(places, np.float32).reshape(-1, 2)
    seen = np.ones(len(places)) if visible is None else visible
    return Points(places, np.array(seen, np.float32), np.array(spacing, np.float32))


def source(labels, size=(40, 60)):
    return SourceImage("a.png", "row 2", size, np.array(labels, np.float32), lambda file: None)


def slowly(place, move, options_of_turn):
    """One point, step by step: turn and scale about the middle, shift, mirror, crop."""
    x, y = place
    if options_of_turn is not None:
        matrix = options_of_turn.tolist()
        x, y = (matrix[row][0] * x + matrix[row][1] * y + matrix[row][2] for row in (0, 1))
    if move.flip:
        x = SIDE - x
    left, top, right, bottom = move.crop
    return (x - left) / (right - left) * SIDE, (y - top) / (bottom - top) * SIDE


@settings(max_examples=60, deadline=None)
@given(lists, seeds)
def test_points_move_as_one_after_the_other_would_and_leave_the_view_unseen(places, seed):
    move = Moves(GeometryConfig(**GEOMETRY), SIDE).draw(random.Random(seed))
    moved = points(places).moved(move)
    for place, found, seen in zip(places, moved.points, moved.visible, strict=True):
        x, y = slowly(place, move, move.turn)
        if min(abs(x), abs(y), abs(x - SIDE), abs(y - SIDE)) < 1e-3:
            continue  # on the rim, where rounding decides
        inside = 0 <= x <= SIDE and 0 <= y <= SIDE
        assert seen == inside
        assert found.tolist() == pytest.approx([x, y], abs=1e-3) if inside else np.isnan(found).all()


def spot(place):
    """A soft spot around a point, as an image of bytes."""
    steps = np.arange(SIDE) + 0.5
    squares = (steps[None] - place[0]) ** 2 + (steps[:, None] - place[1]) ** 2
    return np.round(250 * np.exp(-squares / (2 * 2.0**2))).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.floats(22, 42), st.floats(22, 42)), seeds)
def test_a_point_stays_in_the_middle_of_the_spot_drawn_around_it(place, seed):
    """Within a tenth of a pixel, which is what bytes and interpolation leave of the middle."""
    options = GEOMETRY | {"crop_scale": (0.8, 1.0)}
    view = ViewPipeline(SIDE, GeometryConfig(**options))(spot(place), points([place]), seed)
    weights = view.image.astype(float)
    if weights[[0, -1]].any() or weights[:, [0, -1]].any():
        return  # cut by the rim
    rows, columns = np.indices(weights.shape) + 0.5
    middle = [(weights * axis).sum() / weights.sum() for axis in (columns, rows)]
    assert view.target.points[0].tolist() == pytest.approx(middle, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(lists, st.data())
def test_two_flips_are_none(places, data):
    count = len(places)
    pair = sorted(data.draw(st.lists(st.integers(0, count - 1), max_size=2, unique=True)))
    order = np.arange(count)
    order[pair] = pair[::-1]
    flip = Move(SIDE, None, True, (0, 0, SIDE, SIDE))
    once = points(places).moved(flip).mirrored(order)
    twice = once.moved(flip).mirrored(order)
    assert twice.points == pytest.approx(np.array(places), abs=1e-4) and (twice.visible == 1).all()
    for k, (x, y) in enumerate(places):
        assert once.points[list(order).index(k)].tolist() == pytest.approx([SIDE - x, y], abs=1e-4)


def test_a_point_without_a_place_is_unknown_after_a_move_and_what_is_absent_stays_absent():
    given_ = points([[1, 2], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2], visible=[1, 1, 0, np.nan], spacing=(0.2, 0.2))
    moved = given_.moved(Move(SIDE, None, False, (32, 0, 64, 64)))
    assert np.array_equal(moved.visible, np.array([0, np.nan, 0, np.nan], np.float32), equal_nan=True)
    assert np.isnan(moved.points).all() and np.isnan(moved.spacing).all()


def test_a_stretched_image_keeps_its_extent_in_millimetres():
    small = points([[30, 20]], spacing=(0.5, 0.25)).resized((40, 60), 20)
    assert small.points.tolist() == [[10, 10]] and small.spacing == pytest.approx([1.5, 0.5])
    scaled = target.scaled(points([[30, 20]], spacing=(0.5, 0.25)), ReferenceSize(40, 60), (80, 120))
    assert scaled.points.tolist() == [[60, 40]] and scaled.spacing == pytest.approx([0.25, 0.125])


def test_points_are_checked_against_their_image_and_labels_say_which_are_there():
    task = task_of(TASK)
    found = task.target(points([[60.5, -0.5], [3, 4], [5, 6]]), source([1, 0, np.nan]))
    assert np.array_equal(found.points, [[60, 0], [np.nan] * 2, [np.nan] * 2], equal_nan=True)
    assert np.array_equal(found.visible, np.array([1, 0, np.nan], np.float32), equal_nan=True)
    with pytest.raises(DataError, match=r"the point \[62.0, 4.0\] \(x, y\) lies outside the image of 60 x 40"):
        task.target(points([[62, 4]]), source([1]))
    assert task.count(points([[1, 2], [np.nan, 3]])) == 1


def batch(places, visible, side=32):
    """A batch of images (B, 1, side, side) with points as shares of the image."""
    key, number = TaskKey("made", TASK), len(places)
    images = torch.zeros(number, 1, side, side, dtype=torch.uint8)
    metas = tuple(SampleMeta(key, f"{index}.png", "p", "r", 200, 100) for index in range(number))
    targets = [points(np.array(own) * side, seen, (0.5, 0.5)) for own, seen in zip(places, visible, strict=True)]
    common = {"key": key, "images": images, "teacher_images": images, "labels": torch.tensor(visible), "metas": metas}
    return task_of(TASK).batch(common, targets, (side, side))


def test_a_batch_holds_shares_and_extents():
    made = batch([[[0.25, 0.5], [math.nan] * 2]], [[1.0, math.nan]])
    assert made.points[0, 0].tolist() == [0.25, 0.5] and made.points[0, 1].isnan().all()
    assert made.extents.tolist() == [[16.0, 16.0]]


def test_what_is_stored_for_other_tools_is_read_again():
    task, classes = task_of(TASK), ("a", "b", "c")
    given_ = points([[1.5, 2.25], [np.nan] * 2, [3, 4]], visible=[1, np.nan, 1], spacing=(0.2, 0.3))
    payload = task.payload(given_, classes)
    again = task.annotation(task.parts_of(payload, classes))
    for name in ("points", "visible", "spacing"):
        assert np.array_equal(getattr(again, name), getattr(given_, name), equal_nan=True), name
    turned = task.annotation(task.parts_of(payload, ("c", "b", "a")))
    assert turned.points[0].tolist() == [3, 4], "by name, not by position"
