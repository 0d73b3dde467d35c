"""Distance between the outlines of masks: HD95 and average symmetric surface distance."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import Statistic, mean_over_images

NEEDS = ("predicted_masks", "true_masks", "known_masks")
LOWER_IS_BETTER = ("HD95", "ASD")
MEANINGS = {
    "HD95": "95th percentile of the distances between outlines",
    "ASD": "mean distance between outlines",
    "HD95 defined": "share of images with the class in truth or prediction in which it is in both",
}
UNITS = {"HD95": "pixels of the network's input", "ASD": "pixels of the network's input"}

PERCENTILE = 95

PIXELS_PER_POINT = 64
"""Pixels per point of an outline up to which a distance map is quicker than a tree."""

LARGEST_MAP = 1000
"""Longest side in pixels of a distance map whose float32 squares are exact."""

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def statistics(predictions: Predictions) -> list[Statistic]:
    """Means over images of each class, in pixels of the network's input.

    ``HD95`` and ``ASD`` rest on the images in which the class is both present and predicted: a distance to nothing is
    not defined. ``HD95 defined`` is the share of these among the images in which it is present or predicted: a model
    that predicts nothing when it is unsure has better distances, and a lower share.
    """
    shape = len(predictions), len(predictions.classes)
    tables = {metric: np.full(shape, np.nan) for metric in ("HD95", "ASD", "HD95 defined")}
    stacks = [predictions.masks(name) for name in NEEDS]
    for image in range(len(predictions)):
        for k, (predicted, true, known) in enumerate(zip(*(stack.image(image) for stack in stacks), strict=True)):
            one, two = predicted & known, true & known
            if one.any() or two.any():
                result = surface_distances(one, two, known)
                tables["HD95 defined"][image, k] = result is not None
                tables["HD95"][image, k], tables["ASD"][image, k] = result or (np.nan, np.nan)
    return mean_over_images(predictions, tables)


def surface_distances(predicted: AnyArray, true: AnyArray, known: AnyArray) -> tuple[float, float] | None:
    """HD95 and average surface distance in pixels, None if one of the masks has no border.

    HD95 is the larger of the two 95th percentiles (linearly interpolated) of the distances from each outline's pixels
    to the nearest pixel of the other outline; the average is over the pixels of both outlines.

    Args:
        predicted: (H, W) bool, known pixels only.
        true: (H, W) bool, likewise.
        known: (H, W) bool.
    """
    one, two = border(predicted, known), border(true, known)
    left, top, width, height = cv2.boundingRect((one | two).view(np.uint8))
    one, two = (part[top : top + height, left : left + width] for part in (one, two))
    if not one.any() or not two.any():
        return None
    there, back = distances(one, two), distances(two, one)
    hd95 = max(_percentile(there), _percentile(back))
    return hd95, float((there.sum() + back.sum()) / (len(there) + len(back)))


def border(mask: AnyArray, known: AnyArray) -> AnyArray:
    """The pixels (H, W) bool of a mask that touch known background or the image's rim by an edge.

    The outline of a mask that ends at unknown pixels is not known there: such pixels are no border.
    """
    inside = (mask | ~known).view(np.uint8)
    surrounded = cv2.erode(inside, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (surrounded == 0)


def distances(pixels: AnyArray, others: AnyArray) -> AnyArray:
    """Distance of each of ``pixels`` to the nearest of ``others``, both (H, W) bool.

    A distance map is quicker for small images, a tree for large ones; squares of distances are whole numbers, so that
    both are exact.
    """
    height, width = others.shape
    if height * width > PIXELS_PER_POINT * others.sum() or max(height, width) > LARGEST_MAP:
        return np.asarray(cKDTree(np.argwhere(others)).query(np.argwhere(pixels))[0])
    nearest = cv2.distanceTransform((~others).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[pixels]
    return np.sqrt(np.rint(nearest.astype(np.float64) ** 2))


def _percentile(values: AnyArray) -> float:
    """The 95th percentile, linearly interpolated as ``numpy.percentile`` does."""
    ordered = np.sort(values)
    position = PERCENTILE / 100 * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (position - below))
