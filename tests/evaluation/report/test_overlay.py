"""Boxes, masks and notes over an image: in place, in their colours, on images of any size."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.tasks.drawing import COLOURS, LEAST_SIDE, Overlay


def grey_image(height, width, level=60):
    return np.full((height, width), level, np.uint8)


def coloured(picture):
    """Pixels whose channels differ: what was drawn in colour."""
    return np.ptp(picture.astype(int), axis=2) > 12


def near(picture, colour, tolerance=40):
    return abs(picture.astype(int) - COLOURS[colour]).max(axis=2) < tolerance


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 300), (512, 512), (900, 700)])
def test_small_images_are_enlarged_large_ones_are_not_and_shapes_stay(height, width):
    image = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    picture = Overlay(image).picture()
    scale = max(1, LEAST_SIDE / min(height, width))
    assert picture.shape == (round(height * scale), round(width * scale), 3) and picture.dtype == np.uint8
    assert not coloured(picture).any(), "an image without findings is grey"
    if scale == 1:
        assert (picture[..., 0] == image).all()


def test_a_box_stands_where_it_should_and_is_hollow():
    overlay = Overlay(grey_image(64, 128))
    overlay.box([32, 20, 96, 50], "", 1)
    rows, columns = np.nonzero(coloured(overlay.picture()))
    scale = LEAST_SIDE / 64
    result = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    assert abs(result - np.array([32, 20, 96, 50]) * scale).max() <= overlay.line + 1
    inside = overlay.picture()[round(30 * scale) : round(40 * scale), round(45 * scale) : round(80 * scale)]
    assert (inside == 60).all()
    assert near(overlay.picture(), 1).sum() > 0.95 * 2 * (64 + 30) * scale


def test_a_mask_is_tinted_outlined_and_leaves_the_rest_alone():
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 40:60] = 1
    overlay = Overlay(grey_image(64, 64))
    overlay.mask(mask, "", 4)
    picture = overlay.picture()
    scale = LEAST_SIDE // 64
    expected = (0.82 * 60 + 0.18 * np.array(COLOURS[4])).astype(np.uint8)
    assert (picture[15 * scale : 25 * scale, 45 * scale : 55 * scale] == expected).all()
    assert near(picture, 4).sum() > 0.95 * 4 * 20 * scale, "the outline is in the full colour"
    large = np.kron(mask, np.ones((scale, scale), np.uint8)).astype(bool)
    rows, columns = np.nonzero(coloured(picture) & ~large)
    margin = overlay.line + 1
    assert rows.min() >= 10 * scale - margin and rows.max() < 30 * scale + margin
    assert columns.min() >= 40 * scale - margin and columns.max() < 60 * scale + margin


def test_each_of_several_parts_is_outlined_and_an_empty_mask_leaves_no_trace():
    overlay = Overlay(grey_image(64, 64))
    overlay.mask(np.zeros((64, 64), bool), "nothing", 0)
    assert (overlay.picture() == 60).all()
    parts = np.zeros((64, 64), bool)
    parts[5:15, 5:15] = parts[40:60, 40:60] = True
    overlay.mask(parts, "", 2)
    strong = near(overlay.picture(), 2)
    assert strong[: LEAST_SIDE // 2, : LEAST_SIDE // 2].any() and strong[LEAST_SIDE // 2 :, LEAST_SIDE // 2 :].any()


def test_unknown_pixels_are_not_painted_as_predicted():
    overlay = Overlay(grey_image(64, 64))
    overlay.mask(np.full((64, 64), 255, np.uint8), "unknown", 0)
    assert (overlay.picture() == 60).all()


@pytest.mark.parametrize("ground", [0, 255])
def test_words_are_readable_on_dark_and_bright_ground(ground):
    overlay = Overlay(grey_image(200, 300, ground))
    overlay.box([100, 80, 160, 120], "Nodule", 1, "0.71")
    picture = overlay.picture()
    (left, top, right, bottom) = overlay.areas[0]
    tag = picture[top:bottom, left:right]
    assert (tag > 150).any(axis=2).sum() > 40 and (tag < 60).all(axis=2).sum() > 40


def test_the_legend_has_every_head_and_an_empty_one_says_so():
    """Each further line, title or footnote makes the picture's right part differ below the earlier ones."""
    overlay = Overlay(grey_image(512, 512, 0))
    overlay.section("first/classification")
    overlay.note(["one 0.40", "two 0.90"])
    first = overlay.picture()
    assert (first[:, :512] == 0).all() and first.shape[1] > 512
    overlay.section("second/detection")
    second = overlay.picture()
    width = min(first.shape[1], second.shape[1])
    fresh = np.nonzero((second[:, :width] != first[:, :width]).any(axis=(1, 2)))[0]
    assert fresh.min() > np.nonzero(first.any(axis=(1, 2)))[0].max() - 2
    overlay.footnote("thresholds chosen on validation")
    assert np.nonzero(overlay.picture().any(axis=(1, 2)))[0].max() > np.nonzero(second.any(axis=(1, 2)))[0].max()


def test_heads_do_not_share_colours_and_the_legend_shows_them():
    overlay = Overlay(grey_image(64, 64))
    for head, corners in (("a/detection", [5, 5, 20, 20]), ("b/detection", [35, 35, 60, 60])):
        overlay.section(head)
        overlay.box(corners, "Nodule", 0, "0.50")
    picture = overlay.picture()
    for colour in (0, 1):
        exact = near(picture, colour, 25)
        assert exact[:, :512].sum() > 50 and exact[:, 512:].sum() > 50, "in the image and in the legend"
        other = exact[:256, :256] if colour else exact[256:, 256:512]
        assert not other.any()


@pytest.mark.parametrize("corners", [(0, 0, 64, 64), (60, 0, 64, 3), (0, 60, 3, 64)])
def test_labels_at_the_rim_stay_in_the_picture(corners):
    overlay = Overlay(grey_image(64, 64))
    overlay.box(corners, "Consolidation", 0, "Consolidation 0.93")
    overlay.picture()
    ((left, top, right, bottom),) = overlay.areas
    assert left >= 0 and top >= 0 and right <= 512 and bottom <= 512
    assert right - left > 120, "the words are whole, not cut off at the rim"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=25))
def test_no_tag_lies_over_another(corners):
    overlay = Overlay(grey_image(64, 64))
    for index, (x, y) in enumerate(corners):
        overlay.box([x, y, x + 20, y + 20], "Nodule", 0, f"0.{index:02}")
    overlay.picture()
    assert len(overlay.areas) >= min(3, len(corners))
    for one, two in itertools.combinations(overlay.areas, 2):
        assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def test_a_legend_longer_than_the_image_makes_the_picture_longer():
    overlay = Overlay(grey_image(512, 512))
    overlay.section("a/classification")
    overlay.note([f"class {index}" for index in range(80)])
    picture = overlay.picture()
    assert picture.shape[0] > 512 and picture[-60:, 512:].any() and not picture[512:, :512].any()


def test_more_findings_than_colours_go_round():
    overlay = Overlay(grey_image(64, 64))
    overlay.box([10, 10, 50, 50], "", 2 * len(COLOURS) + 2)
    assert near(overlay.picture(), 2).any()
