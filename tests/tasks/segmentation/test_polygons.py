"""Polygons become pixels as pycocotools makes them, and masks become outlines that give the masks again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle

from foundationx.core.geometry.outlines import mask_outlines
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._geometry import polygon
from foundationx.tasks.definition import SourceImage
from foundationx.tasks.segmentation.target import draw

H, W = 50, 64


def reference(polygons, size=(H, W)):
    """The union of polygons by pycocotools."""
    return rle.decode(rle.merge(rle.frPyObjects([np.ravel(points).tolist() for points in polygons], *size)))


def drawn(polygons, size=(H, W)):
    parts = [MaskPart(0, polygon=polygon(np.asarray(points).tolist(), "a")) for points in polygons]
    source = SourceImage("a.png", "row", size, np.ones(1, np.float32), lambda file: np.zeros(size, np.uint8))
    return draw(parts, source).masks[0]


def rectangle(x1, y1, x2, y2):
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


@pytest.mark.parametrize("side", [1, 4, 8, 16])
def test_a_square_has_the_pixels_of_its_area(side):
    mask = drawn([rectangle(10, 12, 10 + side, 12 + side)])
    assert mask.sum() == side * side
    assert (mask[12 : 12 + side, 10 : 10 + side] == 1).all()


coordinates = st.one_of(
    st.integers(0, W).map(float),
    st.floats(-1, W, allow_nan=False),
    st.integers(0, 10 * W).map(lambda value: value / 10),  # tenths meet the grid of fifths on which pycocotools draws
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12), min_size=1, max_size=3))
def test_polygons_are_pixel_by_pixel_those_of_pycocotools(polygons):
    polygons = [[(x, min(y, H + 1)) for x, y in points] for points in polygons]
    assert (drawn(polygons) == reference(polygons)).all()


def test_smooth_outlines_keep_their_area():
    """Half a pixel too much on every side would be 5 % of a nodule of 40 pixels."""
    angles = np.linspace(0, 2 * np.pi, 90)[:-1]
    for radius in (5.0, 12.3, 20.0):
        points = np.stack([31.7 + radius * np.cos(angles), 24.2 + radius * np.sin(angles)], 1)
        mask = drawn([points])
        assert (mask == reference([points])).all()
        assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.03)


def blobs(seed, size):
    """Random masks without holes; thin, touching and diagonal parts included."""
    random = np.random.default_rng(seed)
    mask = (random.random(size) < random.uniform(0.2, 0.8)).astype(np.uint8)
    if seed % 2:
        mask = (cv2.GaussianBlur(random.random(size), (0, 0), 3) > 0.5).astype(np.uint8)
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.fillPoly(np.zeros(size, np.uint8), found, 1) if len(found) else mask


@pytest.mark.parametrize("seed", range(40))
def test_the_outlines_of_a_mask_give_the_mask_again(seed):
    mask = blobs(seed, (H, W) if seed % 3 else (7, 5))
    outlines = mask_outlines(mask)
    again = reference(outlines, mask.shape) if outlines else np.zeros_like(mask)
    assert (again == mask).all()
    areas = [cv2.contourArea(line.astype(np.float32)) for line in outlines]
    assert areas == sorted(areas, reverse=True)


def test_an_outline_of_a_rectangle_has_four_corners_and_its_area():
    mask = np.zeros((H, W), bool)
    mask[3:11, 5:25] = True
    (outline,) = mask_outlines(mask)
    assert sorted(map(tuple, outline.tolist())) == [(5, 3), (5, 11), (25, 3), (25, 11)]
    mask[:] = False
    assert mask_outlines(mask) == []
