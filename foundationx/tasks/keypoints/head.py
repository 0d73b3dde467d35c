"""Head of the points of one dataset: the expected place under a heat map for each, and whether it is in the image.

See ``docs/methods/keypoints.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core import distributed
from foundationx.core.config.model import Finite, ModelConfig, Whole
from foundationx.core.types import Task
from foundationx.tasks.base import Head, HeadOptions, open_head
from foundationx.tasks.classification.losses import masked_bce
from foundationx.tasks.keypoints.prediction import KeypointsPrediction
from foundationx.tasks.keypoints.target import KeypointsBatch
from foundationx.tasks.keypoints.trunk import KeypointsTrunk


class KeypointsOptions(HeadOptions):
    """Options of the head: ``model.heads.keypoints.options``."""

    channels: Whole = Field(128, ge=8, le=8192, description="channels of the shared feature pyramid")
    distance_weight: Finite = Field(
        10.0, ge=0, le=1000, description="weight of the distance between points, in shares of the image"
    )
    visibility_weight: Finite = Field(1.0, ge=0, le=1000, description="weight of the cross-entropy of visibility")


class KeypointsOutput(NamedTuple):
    """Raw outputs of the head.

    Attributes:
        points: (B, K, 2) float32 x y as shares of the image.
        visibility: (B, K) float32 logits.
    """

    points: Tensor
    visibility: Tensor


class KeypointsHead(Head[KeypointsTrunk, Tensor, KeypointsOutput, KeypointsBatch]):
    """A heat map for each point; its expected place is the point, and what the trunk has there says if it is visible.

    Places are computed in float32: in bfloat16 two neighbouring pixels of a large image are one number.

    Args:
        num_features: C of the trunk's output.
        num_classes: K of the dataset's card.
        options: Weights of the losses.
    """

    task = Task("keypoints")
    Options = KeypointsOptions

    def __init__(self, num_features: int, num_classes: int, options: KeypointsOptions):
        super().__init__()
        self.options = options
        self.heat = nn.Conv2d(num_features, num_classes, kernel_size=1)
        self.visible_weight = nn.Parameter(torch.zeros(num_classes, num_features))
        self.visible_bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.trunc_normal_(self.heat.weight, std=0.02)
        nn.init.trunc_normal_(self.visible_weight, std=0.02)
        assert self.heat.bias is not None
        nn.init.zeros_(self.heat.bias)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> KeypointsTrunk:
        """A feature pyramid."""
        options = open_head(cls.task, config)[1]
        chosen = options if isinstance(options, KeypointsOptions) else KeypointsOptions()
        return KeypointsTrunk(channels, chosen.channels)

    @classmethod
    def build(cls, trunk: KeypointsTrunk, num_classes: int, config: ModelConfig, options: KeypointsOptions) -> Self:
        """Heat maps on the trunk's map."""
        return cls(trunk.out_channels, num_classes, options)

    def forward(self, feature: Tensor, trunk: KeypointsTrunk, batch: KeypointsBatch | None = None) -> KeypointsOutput:
        """(B, C, h, w) to places and logits of visibility."""
        heat = self.heat(feature)
        with torch.autocast(feature.device.type, enabled=False):
            share = heat.float().flatten(2).softmax(dim=2)  # (B, K, h * w)
            points = share @ cell_centres(feature)
            seen = share @ feature.float().flatten(2).transpose(1, 2)  # (B, K, C)
            visibility = (seen * self.visible_weight.float()).sum(dim=2) + self.visible_bias.float()
        return KeypointsOutput(points, visibility)

    def loss(self, outputs: KeypointsOutput, batch: KeypointsBatch) -> dict[str, Tensor]:
        """``distance``: absolute differences in x and y, the sum over all points with a place divided by their number.
        ``visibility``: binary cross-entropy over the points of which it is known."""
        distance, visibility = point_losses(outputs.points, outputs.visibility, batch)
        return {
            "distance": self.options.distance_weight * distance,
            "visibility": self.options.visibility_weight * visibility,
        }

    def counts(self, batch: KeypointsBatch) -> dict[str, int]:
        """Points with a place, and those of which it is known whether they are visible."""
        return point_counts(batch)

    def predict(self, outputs: KeypointsOutput, size: tuple[int, int]) -> KeypointsPrediction:
        """Places as shares of the image, and probabilities."""
        return KeypointsPrediction(outputs.points.float(), outputs.visibility.float().sigmoid())


def cell_centres(feature: Tensor) -> Tensor:
    """(h * w, 2) float32: x y of the middle of each cell of a map (B, C, h, w), as shares of the image."""
    height, width = feature.shape[-2:]
    y = (torch.arange(height, device=feature.device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=feature.device, dtype=torch.float32) + 0.5) / width
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=2).reshape(-1, 2)


def has_place(batch: KeypointsBatch) -> Tensor:
    """(B, K) bool: points whose place is known."""
    return batch.points.isfinite().all(dim=2)


def point_counts(batch: KeypointsBatch) -> dict[str, int]:
    """What :func:`point_losses` divides by: points with a place, and those of which the visibility is known."""
    return {"points": int(has_place(batch).sum()), "visibility": int((~batch.visible.isnan()).sum())}


def point_losses(
    points: Tensor, visibility: Tensor, batch: KeypointsBatch, unit: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """The losses of places (B, K, 2), shares of the image, and of logits of visibility (B, K).

    Distances are counted in ``unit``, a number or (B, 1, 2), shares of the image. A point without a known place adds
    nothing to the first, one of unknown visibility nothing to the second: their gradients are exactly zero.
    """
    known = has_place(batch)
    off = (F.l1_loss(points, batch.points.nan_to_num(0.0), reduction="none") / unit).sum(dim=2)
    distance = (off * known).sum() / distributed.mean_count(known.sum(), "points")
    return distance, masked_bce(visibility, batch.visible, "visibility")
