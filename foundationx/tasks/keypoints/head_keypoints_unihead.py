"""UniHead for named points: they begin at the mean pose and are moved (``docs/methods/unihead.md``, "2.3 Key points").

The points of a dataset are one set an image, so that the region is the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from foundationx.core.config.model import Finite, ModelConfig, Whole
from foundationx.core.types import Task
from foundationx.tasks.base import Head, HeadOptions, open_head
from foundationx.tasks.keypoints.head import point_counts, point_losses
from foundationx.tasks.keypoints.prediction import KeypointsPrediction
from foundationx.tasks.keypoints.target import KeypointsBatch
from foundationx.tasks.keypoints.trivial import MIDDLE
from foundationx.tasks.points.blocks import CLASS_STD, PointEncoder, PointMover, PointScatter, output_layer
from foundationx.tasks.points.geometry import pose_biases
from foundationx.tasks.points.options import PointOptions
from foundationx.tasks.points.pyramid import UNIT_CELLS, Pyramid, PyramidTrunk


class UniHeadKeypointsOptions(PointOptions):
    """Options of the head: ``model.heads.keypoints.options``."""

    place_blocks: Whole = Field(3, ge=1, le=24, description="blocks of the encoder")
    place_hidden: Whole = Field(1024, ge=1, le=16_384, description="width before the shifts of the points")
    distance_weight: Finite = Field(
        2.0, ge=0, le=1000, description="weight of the distance between points, in 8 cells of the sampled level"
    )
    visibility_weight: Finite = Field(0.6, ge=0, le=1000, description="weight of the cross-entropy of visibility")


@dataclass(slots=True)
class PoseOutputs:
    """Raw outputs of the head.

    Attributes:
        points: (B, K, 2) float32 x y as shares of the image.
        visibility: (B, K) float32 logits.
        unit: (B, 1, 2), ``UNIT_CELLS`` of the sampled level as shares of the image.
    """

    points: Tensor
    visibility: Tensor
    unit: Tensor


class UniHeadKeypointsHead(Head[PyramidTrunk, Pyramid, PoseOutputs, KeypointsBatch]):
    """A visibility token and the points of the whole image, one for each class.

    Args:
        num_classes: K of the dataset's card.
        options: Sizes and weights.
    """

    task = Task("keypoints")
    Options: ClassVar[type[HeadOptions]] = UniHeadKeypointsOptions
    begins_at_trivial = True

    def __init__(self, num_classes: int, options: UniHeadKeypointsOptions):
        super().__init__()
        self.options = options
        offsets, shifts = pose_biases(torch.tensor([MIDDLE] * num_classes))
        self.scatter = PointScatter(options, offsets)
        self.encoder = PointEncoder(options, options.place_blocks)
        self.visible = output_layer(options.channels, num_classes, CLASS_STD)
        self.mover = PointMover(num_classes, options.place_hidden, shifts, options)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> PyramidTrunk:
        """A feature pyramid of the head's width."""
        _, options = open_head(cls.task, config)
        assert isinstance(options, UniHeadKeypointsOptions)
        return PyramidTrunk(channels, options.channels, norm=not options.as_released, extra=0)

    @classmethod
    def build(cls, trunk: PyramidTrunk, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head on the pyramid."""
        return cls(num_classes, options)

    @torch.no_grad()
    def see_trivial(self, learned: Sequence[Mapping[str, Any] | None]) -> None:
        """Points begin at their mean training place, one that no training image shows in the middle."""
        places = torch.tensor([MIDDLE if of_class is None else of_class["point"] for of_class in learned])
        offsets, shifts = pose_biases(places)
        self.scatter.offsets.bias.copy_(offsets.flatten())
        self.mover.shifts.bias.copy_(shifts.flatten())

    def forward(self, feature: Pyramid, trunk: PyramidTrunk, batch: KeypointsBatch | None = None) -> PoseOutputs:
        """The pyramid to places and logits of visibility."""
        whole = feature.whole()
        scattered = self.scatter(feature, whole)
        encoded = self.encoder(scattered.features)
        visibility = self.visible(encoded[:, 0, 0]).float()
        points = scattered.moved(self.mover(encoded[:, :, 1:])[:, :, 0])
        unit = UNIT_CELLS / feature.sizes()[feature.level_of(whole)]
        return PoseOutputs(points[:, 0], visibility, unit)

    def loss(self, outputs: PoseOutputs, batch: KeypointsBatch) -> dict[str, Tensor]:
        """``distance``: absolute differences in x and y in units, the sum over all points with a place divided by their
        number. ``visibility``: binary cross-entropy over the points of which it is known."""
        distance, visibility = point_losses(outputs.points, outputs.visibility, batch, outputs.unit)
        return {
            "distance": self.options.distance_weight * distance,
            "visibility": self.options.visibility_weight * visibility,
        }

    def counts(self, batch: KeypointsBatch) -> dict[str, int]:
        """Points with a place, and those of which it is known whether they are visible."""
        return point_counts(batch)

    def predict(self, outputs: PoseOutputs, size: tuple[int, int]) -> KeypointsPrediction:
        """Places as shares of the image, and probabilities."""
        return KeypointsPrediction(outputs.points, outputs.visibility.sigmoid())
