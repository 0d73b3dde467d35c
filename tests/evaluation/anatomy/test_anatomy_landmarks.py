"""Landmarks out of masks and boxes, by hand and against what the generator of radiographs knows."""

import numpy as np
import pytest

from foundationx.core.types import UNKNOWN_PIXEL
from foundationx.evaluation.anatomy.landmarks import (
    as_array,
    box_landmarks,
    common,
    mask_landmarks,
    mirror_pairs,
    mirrored,
)
from foundationx.phantoms.phantom import ORGANS, make_phantom

OUTLINE = {
    "right apex": "Right Lung: top",
    "left apex": "Left Lung: top",
    "right costophrenic angle": "Right Lung: lower left",
    "left costophrenic angle": "Left Lung: lower right",
    "right heart border": "Heart: left",
    "left heart border": "Heart: right",
}


@pytest.mark.parametrize("patient", range(4))
def test_masks_give_the_landmarks_that_the_generator_knows(patient):
    radiograph = make_phantom(patient, 0, 256, findings=())
    result = {}
    for organ in ORGANS:
        result |= mask_landmarks(organ, radiograph.mask(organ).astype(np.uint8))
    for true, derived in OUTLINE.items():
        x, y = radiograph.landmarks[true]
        assert np.hypot(result[derived][0] - y, result[derived][1] - x) < 3, derived


def test_extreme_points_of_a_mask_by_hand():
    mask = np.zeros((10, 12), np.uint8)
    mask[2:5, 3:8] = 1  # rows 2 to 4, columns 3 to 7
    mask[5, 7] = 1
    mask[9, 0] = 1  # a speck
    result = mask_landmarks("Lung", mask)
    assert result["Lung: top"] == (2.5, 5.5) and result["Lung: left"] == (3.5, 3.5)
    assert result["Lung: lower right"] == (5.5, 7.5) and result["Lung: lower left"] == (4.5, 3.5)
    assert result["Lung: centre"] == pytest.approx((0.5 + (3 * 15 + 5) / 16, 0.5 + (5 * 15 + 7) / 16))


def test_two_large_pieces_are_two_structures():
    mask = np.zeros((10, 20), np.uint8)
    mask[2:8, 12:18], mask[2:7, 1:5] = 1, 1
    result = mask_landmarks("Lung", mask)
    assert result["Lung (image left): left"] == (4.5, 1.5) and result["Lung (image right): top"] == (2.5, 15.5)
    assert not any(name.startswith("Lung:") for name in result)


def test_what_is_empty_or_unknown_has_no_landmarks():
    mask = np.zeros((6, 6), np.uint8)
    assert mask_landmarks("Heart", mask) == {}
    mask[2:4, 2:4], mask[0, 0] = 1, UNKNOWN_PIXEL
    assert mask_landmarks("Heart", mask) == {}
    assert box_landmarks("Heart", np.zeros((0, 4))) == {} and box_landmarks("Heart", np.ones((2, 4))) == {}


def test_corners_of_a_box():
    result = box_landmarks("Heart", np.array([[10.0, 20.0, 30.0, 60.0]]))
    assert result["Heart: upper right corner"] == (20, 30) and result["Heart: centre"] == (40, 20)
    assert as_array(result, ["Heart: lower left corner", "Heart: upper left corner"]).tolist() == [[60, 10], [20, 10]]


def test_landmarks_of_half_of_the_radiographs_count():
    radiographs = [{"a": (0, 0), "b": (0, 0)}, {"a": (1, 1), "c": (0, 0)}, {"a": (0, 0), "b": (2, 2)}, {"a": (0, 0)}]
    assert common(radiographs) == ["a", "b"]
    assert common(radiographs[:1]) == [], "one radiograph has nothing in common with another"


def test_the_other_side_of_the_body():
    names = ["Right Lung: lower left", "Left Lung: lower right", "Heart: left", "Heart: right", "Right Lung: top"]
    assert mirrored(names[0]) == names[1] and mirrored(mirrored(names[0])) == names[0]
    assert mirror_pairs(names) == [(names[0], names[1])], "a heart has no other side; no left top is there"
    assert mirror_pairs(["lung (image right): top", "lung (image left): top"]) == [
        ("lung (image right): top", "lung (image left): top")
    ]
