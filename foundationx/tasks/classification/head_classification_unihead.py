"""UniHead for image labels: points over the whole image (``docs/methods/unihead.md``, "2.4 Image classification").

The published figure shows such a head, but none is released. Sixteen points cannot cover a radiograph, so that the
(projected) pooled feature stands beside what they find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch
from foundationx.tasks.base import HeadOptions
from foundationx.tasks.classification.head import ClassificationHead, ClassificationOptions
from foundationx.tasks.classification.trunk import ClassificationTrunk
from foundationx.tasks.points.blocks import PointEncoder, PointScatter, hidden_layer
from foundationx.tasks.points.geometry import side_directions, start_biases
from foundationx.tasks.points.options import ClassPointOptions
from foundationx.tasks.points.pyramid import Pyramid


@dataclass(slots=True)
class PooledAndMap:
    """The (projected) pooled feature ``memory`` (B, D), and the last stage (B, C, h, w)."""

    memory: Tensor
    last: Tensor


class _MapTrunk(ClassificationTrunk):
    """The trunk of image labels, which also hands on the last stage."""

    def __init__(self, in_channels: Sequence[int], config: ModelConfig):
        super().__init__(in_channels, config.projector)
        self.last_channels = in_channels[-1]

    def forward(self, features: Sequence[Tensor]) -> PooledAndMap:  # type: ignore[override]  # both features
        """Feature maps to the pooled feature and the last map."""
        return PooledAndMap(super().forward(features), features[-1])


class UniHeadOptions(ClassPointOptions, ClassificationOptions):
    """Options of the head: ``model.heads.classification.options``."""

    pooled: bool = Field(True, description="whether the pooled feature of the whole image stands beside the points")


class UniHeadClassificationHead(ClassificationHead):
    """A class token and the points of the whole image; all of them give one logit per class.

    Args:
        pooled: D of the pooled feature.
        channels: C of the last stage.
        num_classes: K of the dataset's card.
        options: Sizes and loss.
    """

    Options: ClassVar[type[HeadOptions]] = UniHeadOptions

    def __init__(self, pooled: int, channels: int, num_classes: int, options: UniHeadOptions):
        self.pooled = pooled if options.pooled else 0
        super().__init__(options.class_hidden + self.pooled, num_classes, options)
        self.lateral = nn.Conv2d(channels, options.channels, kernel_size=1)
        offsets, _ = start_biases(side_directions(options.points))
        self.scatter = PointScatter(options, offsets)
        self.encoder = PointEncoder(options, options.class_blocks)
        self.hidden = hidden_layer((1 + options.points) * options.channels, options.class_hidden)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> _MapTrunk:
        """Pooling and projector, and the last stage beside it."""
        return _MapTrunk(channels, config)

    @classmethod
    def build(cls, trunk: Any, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head on both features."""
        return cls(trunk.out_features, trunk.last_channels, num_classes, options)

    def forward(self, feature: Any, trunk: ClassificationTrunk, batch: Batch | None = None) -> Tensor:
        """The last stage and the pooled feature to logits (B, K)."""
        pyramid = Pyramid.of([self.lateral(feature.last)])
        encoded = self.encoder(self.scatter(pyramid, pyramid.whole()).features)
        hidden = self.hidden(encoded.flatten(1)).relu()
        if self.pooled:
            hidden = torch.cat([hidden, feature.memory.to(hidden.dtype)], dim=1)
        return self.classifier(hidden)
