"""Views: boxes and masks go with the pixels, seeds decide everything, unknown stays unknown."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.config.load import parse_config
from foundationx.core.errors import ConfigError
from foundationx.tasks.detection.target import MIN_VISIBLE
from tests.helpers.targets import Pipeline

FULL_GEOMETRY = {"hflip": 0.5, "rotate": 12.0, "scale": 0.15, "shift": 0.08, "crop_scale": (0.5, 1.0)}
FULL_PHOTOMETRY = {"brightness": 0.2, "contrast": 0.2, "gamma": 0.2, "noise": 0.05, "blur": 1.0}

geometries = st.fixed_dictionaries(
    {
        "hflip": st.sampled_from([0.0, 0.5, 1.0]),
        "rotate": st.floats(0, 20),
        "scale": st.floats(0, 0.3),
        "shift": st.floats(0, 0.2),
        "crop_scale": st.sampled_from([None, (0.4, 1.0), (0.8, 1.0)]),
    }
)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def rectangle(height, width, box):
    x1, y1, x2, y2 = box
    mask = np.zeros((1, height, width), np.uint8)
    mask[0, y1:y2, x1:x2] = 1
    return mask


@st.composite
def images(draw):
    """Height, width and a box of at least an eighth of each."""
    height, width = draw(st.integers(48, 200)), draw(st.integers(48, 200))
    x1, y1 = draw(st.integers(0, width * 7 // 8 - 1)), draw(st.integers(0, height * 7 // 8 - 1))
    x2, y2 = draw(st.integers(x1 + width // 8, width)), draw(st.integers(y1 + height // 8, height))
    return height, width, (x1, y1, x2, y2)


@settings(max_examples=150, deadline=None)
@given(images(), geometries, st.integers(0, 2**32 - 1))
def test_a_box_stays_the_bounds_of_its_mask(image, geometry, seed):
    height, width, box = image
    boxes, classes = np.array([box], np.float32), np.array([3])
    view = Pipeline(96, geometry)(noise((height, width)), boxes, classes, rectangle(height, width, box), seed)
    rows, columns = np.nonzero(view.masks[0] == 1)
    assert len(view.boxes) == len(view.box_classes) <= 1
    if len(view.boxes):
        assert view.box_classes.tolist() == [3] and view.boxes.dtype == np.float32
        assert view.boxes.min() >= 0 and view.boxes.max() <= 96
        x1, y1, x2, y2 = view.boxes[0]
        if min(x2 - x1, y2 - y1) > 3:  # of a thinner sliver at the rim no pixel's centre may be inside
            least, most = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
            beside = np.concatenate([least - view.boxes[0, :2], view.boxes[0, 2:] - most])
            assert beside.min() >= -2.3, "the mask is inside the box"
            if view.boxes.min() > 0 and view.boxes.max() < 96:  # the rim cuts tips too thin for a pixel's centre
                assert beside.max() <= 2.3, "and fills it"
    else:
        whole = (box[2] - box[0]) * (box[3] - box[1]) * 96 * 96 / (height * width)
        rim = 2 * (np.ptp(rows) + np.ptp(columns) + 2) if len(rows) else 0  # pixels are counted whole
        assert len(rows) <= 2.5 * whole * MIN_VISIBLE + rim, "so much is seen that the box should be there"


def test_a_turned_box_that_leaves_the_view_is_the_bounds_of_what_is_seen():
    """Turned corners stand further out than the part that stays: the bounds of the corners would be too tall."""
    box, worst = (60, 20, 100, 80), 0.0
    for seed in range(40):
        pipeline = Pipeline(100, {"rotate": 20.0, "shift": 0.15})
        view = pipeline(
            noise((100, 100)), np.array([box], np.float32), np.zeros(1, int), rectangle(100, 100, box), seed
        )
        rows, columns = np.nonzero(view.masks[0] == 1)
        worst = max(worst, *abs(view.boxes[0] - [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]))
    assert worst <= 2


@settings(max_examples=40, deadline=None)
@given(geometries, st.integers(0, 2**32 - 1))
def test_unknown_never_becomes_foreground_and_comes_in_from_outside(geometry, seed):
    image = np.full((80, 120), 255, np.uint8)
    unknown, empty = np.full((80, 120), 255, np.uint8), np.zeros((80, 120), np.uint8)
    striped = np.where(np.arange(120) % 24 < 12, 255, 0).astype(np.uint8) * np.ones((80, 1), np.uint8)
    view = Pipeline(64, geometry)(image, None, None, np.stack([unknown, empty, striped]), seed)
    assert (view.masks[0] == 255).all()
    assert set(np.unique(view.masks)) <= {0, 255}
    outside = view.image < 5  # the image is white, what comes in is black
    assert (view.masks[1][outside] == 255).all()
    inside = view.image == 255
    assert (view.masks[1][inside] == 0).all()


def test_a_shift_brings_in_black_and_unknown():
    view = Pipeline(64, {"shift": 0.3})(
        np.full((64, 64), 200, np.uint8), None, None, np.zeros((1, 64, 64), np.uint8), 1
    )
    assert (view.image == 0).any() and (view.masks == 255).any()


def dump(view):
    return [getattr(view, name) for name in ("image", "teacher_image", "boxes", "box_classes", "masks")]


def full(size=64):
    return Pipeline(size, FULL_GEOMETRY, FULL_PHOTOMETRY, teacher="clean")


def inputs():
    return (
        noise((90, 70)),
        np.array([[10, 20, 40, 60.0]], np.float32),
        np.array([1]),
        rectangle(90, 70, (10, 20, 40, 60)),
    )


def test_a_view_is_a_function_of_its_seed_whatever_was_made_before():
    one, two = full(), full()
    forwards = [dump(one(*inputs(), seed)) for seed in range(8)]
    backwards = [dump(two(*inputs(), seed)) for seed in reversed(range(8))][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        for a, b in zip(first, second, strict=True):
            assert np.array_equal(a, b)
    assert len({first[0].tobytes() for first in forwards}) == 8, "seeds give different views"


def test_inputs_are_left_as_they_are():
    given_, kept = inputs(), inputs()
    full()(*given_, 3)
    for a, b in zip(given_, kept, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.slow
def test_a_view_is_the_same_in_another_process():
    code = (
        "import zlib, tests.data.test_augment as t\n"
        "print([zlib.crc32(t.full()(*t.inputs(), s).image.tobytes()) for s in (1, 2)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    here = [zlib.crc32(full()(*inputs(), seed).image.tobytes()) for seed in (1, 2)]
    assert ran.stdout.strip() == str(here), ran.stderr


def test_a_clean_teacher_sees_the_same_geometry_without_photometry():
    image = noise((80, 100))
    for seed in range(10):
        clean = Pipeline(64, FULL_GEOMETRY, FULL_PHOTOMETRY, teacher="clean")(image, None, None, None, seed)
        bare = Pipeline(64, FULL_GEOMETRY, None)(image, None, None, None, seed)
        assert np.array_equal(clean.teacher_image, bare.image)
        assert not np.array_equal(clean.image, clean.teacher_image)
        same = Pipeline(64, FULL_GEOMETRY, FULL_PHOTOMETRY)(image, None, None, None, seed)
        assert same.teacher_image is None and np.array_equal(same.image, clean.image)
    assert Pipeline(64, FULL_GEOMETRY, None, teacher="clean")(image, None, None, None, 0).teacher_image is None


def test_the_teacher_of_the_whole_image_sees_the_plain_resize():
    image = noise((80, 100))
    whole = Pipeline(64, {"crop_scale": (0.2, 0.4)}, FULL_PHOTOMETRY, teacher="whole")(image, None, None, None, 5)
    plain = Pipeline(64)(image, None, None, None, 5)
    assert np.array_equal(whole.teacher_image, plain.image) and not np.array_equal(whole.image, plain.image)


def test_brightness_does_not_follow_the_geometry():
    image = np.full((32, 32), 100, np.uint8)
    image[:, 16:] = 120
    pipeline = Pipeline(32, {"shift": 0.2}, {"brightness": 0.2}, teacher="clean")
    moved, toned = [], []
    for seed in range(150):
        view = pipeline(image, None, None, None, seed)
        moved.append(view.teacher_image[16].astype(float).mean())
        toned.append(view.image[16, 8:24].mean() - view.teacher_image[16, 8:24].mean())
    assert abs(np.corrcoef(moved, toned)[0, 1]) < 0.35 and np.std(toned) > 5
    shifts = [pipeline(np.full((32, 32), 255, np.uint8), None, None, None, s).teacher_image == 0 for s in range(150)]
    left, up = ([int(black.all(axis=axis).argmin() - black.all(axis=axis)[::-1].argmin()) for black in shifts]
                for axis in (0, 1))  # fmt: skip
    for move in (left, up):
        assert np.std(move) > 2 and abs(np.corrcoef(move, toned)[0, 1]) < 0.3


def test_the_plain_view_averages_areas_and_scales_boxes():
    image = np.kron(np.array([[0, 200], [100, 50]], np.uint8), np.ones((8, 16), np.uint8))
    image[0, 0] = 64
    boxes = np.array([[16, 4, 32, 8], [0, 0, 32, 16]], np.float32)
    view = Pipeline(4)(image, boxes, np.array([1, 0]), (image[None] == 200).astype(np.uint8), 0)
    assert view.image.tolist() == [[2, 0, 200, 200], [0, 0, 200, 200], [100, 100, 50, 50], [100, 100, 50, 50]]
    assert view.boxes.tolist() == [[2, 1, 4, 2], [0, 0, 4, 4]] and view.box_classes.tolist() == [1, 0]
    assert np.array_equal(view.masks[0], (view.image == 200).astype(np.uint8))


def test_masks_are_sampled_from_the_middle_of_each_area():
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, 15:25, 15:25] = 1  # symmetric: so must the small one be
    small = Pipeline(8)(mask[0], None, None, mask, 0).masks[0]
    assert small.any() and np.array_equal(small, small[::-1, ::-1])


def test_flipping_mirrors_pixels_boxes_and_masks():
    image, boxes = noise((64, 64)), np.array([[4, 10, 20, 30]], np.float32)
    view = Pipeline(64, {"hflip": 1.0})(image, boxes, np.array([0]), rectangle(64, 64, (4, 10, 20, 30)), 0)
    assert np.array_equal(view.image, image[:, ::-1]) and view.boxes.tolist() == [[44, 10, 60, 30]]
    assert np.array_equal(view.masks, rectangle(64, 64, (44, 10, 60, 30)))


def test_a_box_of_the_whole_image_stays_one():
    whole = np.array([[0, 0, 80, 60]], np.float32)
    view = Pipeline(64, {"hflip": 1.0})(noise((60, 80)), whole, np.array([0]), None, 0)
    assert np.allclose(view.boxes, [[0, 0, 64, 64]])


def test_a_box_is_dropped_where_less_than_a_quarter_is_seen():
    thin, wide = [0, 0, 4, 64], [0, 0, 64, 64]
    seen = [0, 0]
    for seed in range(60):
        pipeline = Pipeline(64, {"shift": 0.2})
        view = pipeline(
            noise((64, 64)), np.array([thin, wide], np.float32), np.array([0, 1]), rectangle(64, 64, thin), seed
        )
        share = (view.masks[0] == 1).sum() / (4 * 64)
        if abs(share - MIN_VISIBLE) > 0.13:  # a column of pixels is a quarter of the thin box
            assert (0 in view.box_classes) == (share > MIN_VISIBLE)
            seen[share > MIN_VISIBLE] += 1
        assert 1 in view.box_classes
    assert min(seen) > 5


@settings(max_examples=40, deadline=None)
@given(geometries, st.integers(0, 2**32 - 1))
def test_masks_move_with_the_pixels(geometry, seed):
    mask = rectangle(100, 140, (30, 20, 90, 75))
    image = np.where(mask[0] == 1, 220, 30).astype(np.uint8)
    view = Pipeline(96, geometry)(image, None, None, mask, seed)
    assert ((view.image > 125) == (view.masks[0] == 1)).mean() > 0.96


def test_photometry_changes_tones_alone_and_within_its_range():
    image = np.full((64, 64), 100, np.uint8)
    toned = [Pipeline(64, {}, {"brightness": 0.2})(image, None, None, None, seed).image for seed in range(30)]
    assert all(len(np.unique(view)) == 1 for view in toned)
    levels = [int(view[0, 0]) - 100 for view in toned]
    assert max(map(abs, levels)) <= 52 and np.std(levels) > 10, "a share of the whole range, both ways"


def test_no_boxes_stay_no_boxes():
    view = Pipeline(64, FULL_GEOMETRY)(noise((64, 64)), np.zeros((0, 4), np.float32), np.zeros(0, int), None, 0)
    assert view.boxes.shape == (0, 4) and view.box_classes.shape == (0,)


@pytest.mark.parametrize(("section", "key"), [("geometry", "rotat"), ("photometry", "brightnes")])
def test_an_unknown_option_is_named(section, key):
    run = {"name": "a", "model": {"backbone": {"type": "b"}}, "datasets": [{"card": "c"}], "schedule": {"cycles": 1}}
    message = rf"run.py: views.detection.{section}.{key}: unknown key\n.*did you mean"
    with pytest.raises(ConfigError, match=message):
        parse_config(run | {"views": {"detection": {section: {key: 1.0}}}}, "run.py")


def test_every_image_has_a_teacher_view_where_tones_change_by_chance():
    view = Pipeline(32, None, {"brightness": 0.5, "contrast": 0.5, "chance": 0.5}, teacher="clean")
    views = [view(noise((32, 32)), None, None, None, seed) for seed in range(20)]
    assert all(result.teacher_image is not None for result in views)
    changed = [not np.array_equal(result.image, result.teacher_image) for result in views]
    assert any(changed) and not all(changed)


def test_the_affine_move_by_chance():
    view = Pipeline(32, {"rotate": 30, "affine_chance": 0.5})
    image = noise((32, 32))
    still = [np.array_equal(view(image, None, None, None, seed).image, image) for seed in range(20)]
    assert any(still) and not all(still)
