"""Outlines on copies of an image at another size, by hand."""

import numpy as np

from foundationx.core.types import MaskPart, ReferenceSize
from foundationx.tasks.segmentation.target import scaled


def test_an_outline_is_scaled_along_each_axis_by_itself():
    """From 20 x 40 (height x width) to 10 x 160: half as high, four times as wide."""
    part = MaskPart(0, polygon=np.array([[2.0, 4.0], [6.0, 8.0], [0.0, 20.0]]))
    moved = scaled(part, ReferenceSize(20, 40), (10, 160))
    assert moved.polygon.tolist() == [[8.0, 2.0], [24.0, 4.0], [0.0, 10.0]]
