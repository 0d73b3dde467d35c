"""Mean radial error: distance of a predicted point from the true one, in pixels of the source image."""

from __future__ import annotations

import numpy as np

from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import Statistic, mean_over_images

NEEDS = ("points", "true_points")
LOWER_IS_BETTER = ("MRE",)


def statistics(predictions: Predictions) -> list[Statistic]:
    """MRE of every class."""
    off = np.linalg.norm(predictions.array("points") - predictions.array("true_points"), axis=2)
    return mean_over_images(predictions, {"MRE": off})
