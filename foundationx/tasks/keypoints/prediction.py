"""What a head of points predicts, and what the report keeps of an evaluated image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foundationx.core.arrays import FARTHEST, check_array
from foundationx.core.types import Example, Prediction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class KeypointsPrediction(Prediction):
    """A place for every point, and whether it is in the image at all.

    Attributes:
        relative_points: (B, K, 2) x y as shares of the image.
        visibilities: (B, K) probability in [0, 1] that the point is visible.
    """

    relative_points: Tensor
    visibilities: Tensor


@dataclass(slots=True, kw_only=True)
class KeypointsExample(Example):
    """True and predicted points, x y in pixels of ``image``.

    Attributes:
        points: (K, 2), true; NaN where no place is known.
        visible: (K,), tri-state truth.
        pred_points: (K, 2).
        visibilities: (K,) in [0, 1].
    """

    points: np.ndarray
    visible: np.ndarray
    pred_points: np.ndarray
    visibilities: np.ndarray

    def check(self, classes: int) -> None:
        """As :meth:`Example.check`."""
        Example.check(self, classes)
        check_array(np.nan_to_num(self.points), (classes, 2), -FARTHEST, FARTHEST)
        check_array(self.pred_points, (classes, 2), -FARTHEST, FARTHEST)
        check_array(np.nan_to_num(self.visible), (classes,), 0, 1)
        check_array(self.visibilities, (classes,), 0, 1)
