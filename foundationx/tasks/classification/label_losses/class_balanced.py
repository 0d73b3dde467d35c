"""Class-balanced loss (Cui et al., CVPR 2019): labels weigh by the inverse of their effective number of images.

The effective number of n images is (1 - beta^n) / (1 - beta): further images of a frequent class add little. Each class
has two groups here, present and absent; their weights are scaled so that the mean over the training labels of the class
is 1, and a class that training images show present or absent alone has weights 1.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from foundationx.tasks.classification.label_loss import LabelLoss, LabelLossOptions


class ClassBalancedOptions(LabelLossOptions):
    """How fast further images stop to add."""

    beta: float = Field(0.999, ge=0, lt=1, description="0: all labels weigh the same; towards 1: inverse frequency")


class ClassBalanced(LabelLoss[ClassBalancedOptions]):
    """Binary cross-entropy with weights."""

    Options = ClassBalancedOptions
    weights: Tensor

    def __init__(self, classes: int, options: ClassBalancedOptions):
        super().__init__(classes, options)
        self.register_buffer("weights", torch.ones(2, classes))  # absent, present

    def see_labels(self, labels: np.ndarray) -> None:
        """Counts the training labels."""
        known, present = ~np.isnan(labels), labels >= 0.5
        counts = np.stack([(known & ~present).sum(axis=0), (known & present).sum(axis=0)]).astype(np.float64)
        weights = np.ones_like(counts)
        both = (counts > 0).all(axis=0)
        effective = (1 - self.options.beta ** counts[:, both]) / (1 - self.options.beta)
        inverse = 1 / effective
        weights[:, both] = inverse * counts[:, both].sum(axis=0) / (inverse * counts[:, both]).sum(axis=0)
        self.weights.copy_(torch.as_tensor(weights, dtype=self.weights.dtype))

    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, K)."""
        weights = self.weights.to(logits.dtype)
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return entropy * (labels * weights[1] + (1 - labels) * weights[0])
