"""Asymmetric loss for long tails (Ridnik et al., ICCV 2021): easy absent labels count less than present ones.

    present: -(1 - p)^present log p        absent: -q^absent log(1 - q),  q = max(p - margin, 0)

Absent labels whose probability is below the margin give no gradient at all. With both exponents and the margin 0 this
is binary cross-entropy.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from foundationx.tasks.classification.label_loss import LabelLoss, LabelLossOptions

EPS = 1e-8


class AsymmetricOptions(LabelLossOptions):
    """Exponents and margin; the published values are the defaults."""

    present: float = Field(1.0, ge=0, le=20, description="exponent of 1 - p for present labels")
    absent: float = Field(4.0, ge=0, le=20, description="exponent of p for absent labels")
    margin: float = Field(0.05, ge=0, lt=1, description="probability below which an absent label does not count")


class Asymmetric(LabelLoss[AsymmetricOptions]):
    """Soft labels mix both sides."""

    Options = AsymmetricOptions

    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, K)."""
        p = logits.float().sigmoid()
        q = (p - self.options.margin).clamp(min=0)
        present = -((1 - p).pow(self.options.present)) * p.clamp(min=EPS).log()
        absent = -(q.pow(self.options.absent)) * torch.log((1 - q).clamp(min=EPS))
        return labels * present + (1 - labels) * absent
