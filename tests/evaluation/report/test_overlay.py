"""Boxes, masks and notes over an image: in place, in their colours, on images of any size."""

import numpy as np
import pytest

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
    overlay.note(["nodule 0.71"], "findings")
    picture = overlay.picture()
    assert (picture > 200).sum() > 300 and (picture < 60).sum() > 300


def test_notes_stand_below_each_other_and_an_empty_one_says_so():
    overlay = Overlay(grey_image(512, 512, 0))
    overlay.note(["one", "two"], "first head")
    above = overlay.picture().copy()
    overlay.note([], "second head")
    fresh = np.nonzero((overlay.picture() != above).any(axis=2))[0]
    assert len(fresh) and fresh.min() > np.nonzero(above.any(axis=2))[0].max() - 8
    lines = overlay.next_note / round(34 * overlay.font)
    assert lines == 5, "two titles, two lines and the line for nothing"


@pytest.mark.parametrize("corners", [(0, 0, 64, 64), (60, 0, 64, 3), (0, 60, 3, 64)])
def test_labels_at_the_rim_stay_in_the_picture(corners):
    plain, labelled = Overlay(grey_image(64, 64)), Overlay(grey_image(64, 64))
    plain.box(corners, "", 0)
    labelled.box(corners, "Consolidation 0.93", 0)
    changed = (plain.picture() != labelled.picture()).any(axis=2)
    columns = np.flatnonzero(changed.any(axis=0))
    assert changed.sum() > 700 and columns.max() - columns.min() > 120, "the words are whole, not cut off at the rim"


def test_more_findings_than_colours_go_round():
    overlay = Overlay(grey_image(64, 64))
    overlay.box([10, 10, 50, 50], "", len(COLOURS) + 2)
    assert near(overlay.picture(), 2).any()
