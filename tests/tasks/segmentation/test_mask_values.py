"""Values of mask files: what is foreground in other words is refused, never an empty mask in silence."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart
from foundationx.data.pixels.read import read_mask
from foundationx.tasks.definition import SourceImage
from foundationx.tasks.segmentation.target import draw

SQUARE = np.zeros((8, 8), np.uint8)
SQUARE[2:6, 3:7] = 1


def drawn(pixels, positive, ignore=None):
    source = SourceImage("a.png", "a.csv row 2", (8, 8), np.ones(1, np.float32), lambda file: pixels)
    return draw((MaskPart(0, "m.png", positive, ignore),), source).masks[0]


@pytest.mark.parametrize(
    ("pixels", "positive"), [(SQUARE, 255), (SQUARE * 255, 1), (SQUARE * 254, 255), (SQUARE * 128, 255)]
)
def test_a_mask_whose_foreground_has_another_value_is_refused(pixels, positive):
    with pytest.raises(DataError) as caught:
        drawn(pixels, positive)
    assert caught.value.where == "a.csv row 2 (m.png)"
    assert f"and no {positive}" in caught.value.found and f"positive: {pixels.max()}" in caught.value.fix


@pytest.mark.parametrize(
    ("values", "shown", "last"),
    [
        ((0, 1, 2), "0, 1, 2 and", 2),
        ((0, 1, 2, 3, 4), "0, 1, 2, 3, 4 and", 4),
        ((0, 1, 2, 3, 4, 5), "0, 1, 2, 3, 4, ... and", 5),
    ],
)
def test_a_refusal_shows_five_values_and_proposes_the_largest(values, shown, last):
    with pytest.raises(DataError) as caught:
        drawn(np.resize(np.array(values, np.uint8), (8, 8)), 255)
    assert caught.value.found == f"holds {shown} no 255, so that nothing is foreground"
    assert caught.value.fix.startswith(f"write `positive: {last}` ")


@pytest.mark.parametrize("positive", [None, 1])
def test_masks_of_0_and_1_are_read_by_their_value_or_by_any_but_0(positive):
    assert np.array_equal(drawn(SQUARE, positive), SQUARE)


def test_empty_masks_and_files_of_several_classes_may_lack_a_class():
    assert not drawn(np.zeros_like(SQUARE), 255).any()
    assert not drawn(SQUARE, 2).any(), "1 may be another class of the file"
    assert not drawn(SQUARE * 255, 128, ignore=255)[SQUARE == 0].any()


@pytest.mark.parametrize("values", [(65_535,), (257, 514)])
def test_masks_of_eight_bits_written_with_sixteen_have_their_values(tmp_path, values):
    pixels = np.zeros((8, 8), np.uint16)
    for row, value in enumerate(values):
        pixels[row] = value
    cv2.imwrite(str(tmp_path / "m.png"), pixels)
    assert np.array_equal(read_mask(tmp_path / "m.png"), pixels // 257)


def test_other_values_of_sixteen_bits_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.full((8, 8), 65_534, np.uint16))
    with pytest.raises(DataError, match="65534"):
        read_mask(tmp_path / "m.png")
