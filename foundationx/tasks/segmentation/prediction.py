"""What a segmentation head predicts, and what the report keeps of an evaluated image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foundationx.core.arrays import check_array
from foundationx.core.types import Example, Prediction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class SegmentationPrediction(Prediction):
    """Probabilities (B, K, H, W) in [0, 1] at the network's input size."""

    masks: Tensor


@dataclass(slots=True, kw_only=True)
class SegmentationExample(Example):
    """Masks (K, H, W) uint8: true ones 0, 1 or 255 (unknown), predicted ones 0 or 1."""

    masks: np.ndarray
    pred_masks: np.ndarray

    def check(self, classes: int) -> None:
        """As :meth:`Example.check`."""
        Example.check(self, classes)
        for masks in (self.masks, self.pred_masks):
            check_array(masks, (classes, *self.image.shape), 0, 255, "u")
