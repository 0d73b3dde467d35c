"""Distance between the outlines of masks: HD95 and average symmetric surface distance."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from foundationx.evaluation.metrics.statistic import Statistic, mean_over, number_patients
from foundationx.evaluation.predictions import Predictions

PERCENTILE = 95


def border(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pixels (P, 2), row and column, of a mask (H, W) that touch known background or the image's rim by an edge.

    Where a mask ends at unknown pixels nobody knows its outline: such pixels are no border.
    """
    return np.argwhere(mask & ~binary_erosion(mask | ~known))


def surface_distances(predicted: np.ndarray, true: np.ndarray, known: np.ndarray) -> tuple[float, float] | None:
    """HD95 and average surface distance in pixels, None where one of the masks has no border.

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


def statistics(predictions: Predictions) -> list[Statistic]:
    """Means over images of each class, in pixels of the network's input.

    ``HD95`` and ``ASD`` rest on the images where the class is both present and predicted: a distance to nothing is not
    defined. ``HD95 defined`` says how large a share these are of the images where it is present or predicted: a model
    that is silent where it is unsure has better distances, and a lower share.
    """
    shape = len(predictions), len(predictions.classes)
    tables = {metric: np.full(shape, np.nan) for metric in ("HD95", "ASD", "HD95 defined")}
    for image in range(len(predictions)):
        masks = zip(*predictions.masks_of(image), strict=True)
        for k, (predicted, true, known) in enumerate(masks):
            if predicted.any() or true.any():
                found = surface_distances(predicted, true, known) if predicted.any() and true.any() else None
                tables["HD95 defined"][image, k] = found is not None
                tables["HD95"][image, k], tables["ASD"][image, k] = found or (np.nan, np.nan)
    units, patients = number_patients(predictions.patients)
    return [
        mean_over(metric, name, table[:, k], units, patients)
        for metric, table in tables.items()
        for k, name in enumerate(predictions.classes)
    ]
