"""Views: boxes and masks move with the pixels, unknown stays unknown, the same seed gives the same view."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.data.augment import MIN_VISIBLE, ViewPipeline
from foundationx.errors import ConfigError
from foundationx.types import UNKNOWN_PIXEL

GEOMETRY = {"rotate": 12, "scale": 0.15, "shift": 0.08}
PHOTOMETRY = {"brightness": 0.3, "contrast": 0.3, "gamma": 0.3, "noise": 0.05, "blur": 1.0}


def rectangle(x1=40, y1=60, x2=90, y2=120, size=(200, 160)):
    """An image with a bright rectangle, its box and its mask; a second class unknown everywhere."""
    mask = np.zeros((2, *size), np.uint8)
    mask[0, y1:y2, x1:x2] = 1
    mask[1] = UNKNOWN_PIXEL
    image = np.where(mask[0] == 1, 220, 30).astype(np.uint8)
    return image, np.array([[x1, y1, x2, y2]], np.float32), np.array([4]), mask


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def test_a_plain_view_is_a_resize():
    image, boxes, classes, masks = rectangle()
    views = ViewPipeline(80)(image, boxes, classes, masks, seed=0)
    assert views.image.shape == (80, 80) and views.masks.shape == (2, 80, 80) and views.teacher_image is None
    np.testing.assert_allclose(views.boxes, [[20, 24, 45, 48]])
    np.testing.assert_array_equal(bounds(views.masks[0] == 1), [20, 24, 45, 48])
    assert (views.masks[1] == UNKNOWN_PIXEL).all()


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31),
    st.integers(20, 60),
    st.integers(20, 90),
    st.integers(30, 80),
    st.integers(30, 80),
    st.sampled_from([{"shift": 0.08, "scale": 0.15}, {"hflip": 1.0}, {"crop_scale": (0.6, 1.0)}, {"shift": 0.3}]),
)
def test_the_box_stays_around_the_mask(seed, x, y, width, height, geometry):
    image, boxes, classes, masks = rectangle(x, y, x + width, y + height)
    views = ViewPipeline(128, geometry)(image, boxes, classes, masks, seed)
    moved = views.masks[0] == 1
    if len(views.boxes) and moved.any():
        np.testing.assert_allclose(views.boxes[0], bounds(moved), atol=2.0)
        assert views.box_classes.tolist() == [4]
        bright = views.image > 125
        assert (bright == moved).mean() > 0.95, "pixels and mask have parted"


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_a_turned_box_holds_its_mask(seed):
    image, boxes, classes, masks = rectangle()
    views = ViewPipeline(128, GEOMETRY)(image, boxes, classes, masks, seed)
    x1, y1, x2, y2 = bounds(views.masks[0] == 1)
    box = views.boxes[0]
    assert (box[:2] <= np.array([x1, y1]) + 2).all() and (box[2:] >= np.array([x2, y2]) - 2).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_values_of_masks_never_mix_and_what_comes_in_is_unknown(seed):
    image, boxes, classes, masks = rectangle()
    views = ViewPipeline(96, {"shift": 0.25, "rotate": 20})(image, boxes, classes, masks, seed)
    assert set(np.unique(views.masks[0])) <= {0, 1, UNKNOWN_PIXEL}
    assert (views.masks[1] == UNKNOWN_PIXEL).all()
    outside = views.masks[0] == UNKNOWN_PIXEL
    assert (views.image[outside] <= 30).all(), "nothing of the image is marked as outside of it"
    if outside.mean() > 0.2:
        assert np.median(views.image[outside]) == 0


def test_the_seed_alone_decides():
    image, boxes, classes, masks = rectangle()
    one, two = (ViewPipeline(96, GEOMETRY, PHOTOMETRY, "clean") for _ in range(2))
    first = one(image, boxes, classes, masks, seed=7)
    two(image, None, None, None, seed=99)  # an earlier call must leave no trace
    second = two(image, boxes, classes, masks, seed=7)
    for name in ("image", "teacher_image", "boxes", "masks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (one(image, boxes, classes, masks, seed=8).image != first.image).any()


def test_the_clean_teacher_has_the_student_s_geometry_and_no_photometry():
    image, *_ = rectangle()
    views = ViewPipeline(96, GEOMETRY, PHOTOMETRY, "clean")(image, None, None, None, seed=3)
    plain = ViewPipeline(96, GEOMETRY, {}, "clean")(image, None, None, None, seed=3)
    np.testing.assert_array_equal(views.teacher_image, plain.image)
    assert (views.image != views.teacher_image).any()
    assert plain.teacher_image is None, "without photometry both see one view"


def test_same_and_whole_teachers():
    image, *_ = rectangle()
    assert ViewPipeline(96, GEOMETRY, PHOTOMETRY, "same")(image, None, None, None, seed=3).teacher_image is None
    whole = ViewPipeline(96, GEOMETRY, PHOTOMETRY, "whole")(image, None, None, None, seed=3).teacher_image
    np.testing.assert_array_equal(whole, ViewPipeline(96)(image, None, None, None, seed=0).image)


def test_a_box_that_is_mostly_gone_is_dropped_with_its_class():
    image = np.zeros((100, 100), np.uint8)
    boxes = np.array([[0, 0, 10, 100], [40, 40, 60, 60]], np.float32)
    pipeline = ViewPipeline(100, {"crop_scale": (0.3, 0.3)})
    seen = set()
    for seed in range(40):
        views = pipeline(image, boxes, np.array([5, 6]), None, seed)
        assert len(views.boxes) == len(views.box_classes)
        seen.add(tuple(views.box_classes.tolist()))
        for box, label in zip(views.boxes, views.box_classes, strict=True):
            whole = boxes[label - 5] * 1 / np.sqrt(0.3)  # a crop of 30 % of the area is enlarged to the full view
            share = np.prod(box[2:] - box[:2]) / np.prod(whole[2:] - whole[:2])
            assert share >= MIN_VISIBLE - 0.02
    assert {(5,), (6,), ()} & seen, "in forty crops of 30 % some box is lost"


def test_an_empty_list_of_boxes_stays_one():
    image, _, _, masks = rectangle()
    views = ViewPipeline(64, GEOMETRY)(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), masks, 1)
    assert views.boxes.shape == (0, 4) and views.box_classes.shape == (0,)


def test_photometry_changes_tones_only_and_within_its_range():
    image = np.full((64, 64), 100, np.uint8)
    toned = ViewPipeline(64, {}, {"brightness": 0.2})(image, None, None, None, seed=5).image
    assert len(np.unique(toned)) == 1 and abs(int(toned[0, 0]) - 100) <= 52


def test_unknown_options_are_named():
    with pytest.raises(ConfigError, match="did you mean 'rotate'"):
        ViewPipeline(64, {"rotat": 3})
    with pytest.raises(ConfigError, match=r"photometry\.bright"):
        ViewPipeline(64, {}, {"bright": 3})
