"""What a detection head predicts, and what the report keeps of an evaluated image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foundationx.core.arrays import FARTHEST, check_array
from foundationx.core.types import Example, Prediction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class DetectionPrediction(Prediction):
    """The best boxes of every image, best first.

    Attributes:
        relative_boxes: (B, Q, 4) x1 y1 x2 y2 as shares of the image.
        scores: (B, Q) in [0, 1]; 0 marks a box that was suppressed.
        box_classes: (B, Q) int64.
    """

    relative_boxes: Tensor
    scores: Tensor
    box_classes: Tensor

    @property
    def kept(self) -> Tensor:
        """(B, Q) bool: boxes that were not suppressed; only these are recorded and shown."""
        return self.scores > 0


@dataclass(slots=True, kw_only=True)
class DetectionExample(Example):
    """True and predicted boxes, x1 y1 x2 y2 in pixels of ``image``.

    Attributes:
        boxes: (N, 4), true.
        box_classes: (N,).
        pred_boxes: (M, 4), from a certain score on.
        pred_scores: (M,).
        pred_classes: (M,).
    """

    boxes: np.ndarray
    box_classes: np.ndarray
    pred_boxes: np.ndarray
    pred_scores: np.ndarray
    pred_classes: np.ndarray

    def check(self, classes: int) -> None:
        """As :meth:`Example.check`."""
        Example.check(self, classes)
        for boxes, of_boxes in ((self.boxes, self.box_classes), (self.pred_boxes, self.pred_classes)):
            check_array(boxes, (None, 4), -FARTHEST, FARTHEST)
            check_array(of_boxes, (len(boxes),), 0, classes - 1, "iu")
        check_array(self.pred_scores, (len(self.pred_boxes),), 0, 1)
