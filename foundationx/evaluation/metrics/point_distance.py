"""Distance of predicted points from the true ones, over the points whose place is known."""

from __future__ import annotations

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import Statistic, mean_over_images

NEEDS = ("predicted_points", "true_points", "sizes", "extents")
LOWER_IS_BETTER = ("MRE", "MRE mm")
MEANINGS = {
    "MRE": "mean radial error: distance from the true point",
    "MRE mm": "mean radial error where the size of a pixel is known",
    "PCK 2": "share of points off by at most 2 % of the longer side",
    "PCK 5": "share of points off by at most 5 % of the longer side",
}
UNITS = {"MRE": "% of the longer side", "MRE mm": "mm"}

NEAR = (2, 5)
"""Distances in per cent of the longer side up to which a point is right."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """Means over images, point by point.

    ``MRE``: mean radial error, the distance in per cent of the image's longer side. ``MRE mm``: in millimetres, over
    the images whose extent is known; left out if none is. ``PCK 2``, ``PCK 5``: share of the points that are off by no
    more than that per cent.
    """
    off = predictions.array("predicted_points").astype(np.float64) - predictions.array("true_points")
    sizes, extents = predictions.array("sizes"), predictions.array("extents")
    share = 100 * np.linalg.norm(off, axis=2) / sizes.max(axis=1, keepdims=True)
    tables: dict[str, AnyArray] = {"MRE": share}
    if np.isfinite(extents).any():
        per_pixel = extents / sizes[:, ::-1]
        tables["MRE mm"] = np.linalg.norm(off * per_pixel[:, None], axis=2)
    tables |= {f"PCK {most}": np.where(np.isnan(share), np.nan, share <= most) for most in NEAR}
    return mean_over_images(predictions, tables)
