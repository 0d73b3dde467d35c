"""What a classification head predicts, and what the report keeps of an evaluated image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foundationx.core.arrays import check_array
from foundationx.core.types import Example, Prediction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class ClassificationPrediction(Prediction):
    """Probabilities (B, K) in [0, 1]."""

    probabilities: Tensor


@dataclass(slots=True, kw_only=True)
class ClassificationExample(Example):
    """Probabilities (K,) float32."""

    probabilities: np.ndarray

    def check(self, classes: int) -> None:
        """As :meth:`Example.check`."""
        Example.check(self, classes)
        check_array(np.nan_to_num(self.probabilities), (classes,), 0, 1)
