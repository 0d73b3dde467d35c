"""Distance between the outlines of masks: HD95 and average symmetric surface distance."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import Statistic, mean_over_images

NEEDS = ("predicted_masks", "true_masks", "known_masks")
LOWER_IS_BETTER = ("HD95", "ASD")

PERCENTILE = 95


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
                distances = surface_distances(one, two, known)
                tables["HD95 defined"][image, k] = distances is not None
                tables["HD95"][image, k], tables["ASD"][image, k] = distances or (np.nan, np.nan)
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
    if not len(one) or not len(two):
        return None
    there, back = cKDTree(two).query(one)[0], cKDTree(one).query(two)[0]
    hd95 = max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE))
    return float(hd95), float(np.concatenate([there, back]).mean())


def border(mask: AnyArray, known: AnyArray) -> AnyArray:
    """Pixels (P, 2), row and column, of a mask (H, W) that touch known background or the image's rim by an edge.

    Where a mask ends at unknown pixels its outline is not known: such pixels are no border.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64)
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    window = slice(top, rows[-1] + 2), slice(left, columns[-1] + 2)
    inner = np.pad(mask[window] | ~known[window], 1)
    surrounded = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return np.argwhere(mask[window] & ~surrounded) + np.array([top, left])
