"""Segmentation as the released Foundation X and X+ have it, so that their weights give their masks.

The trunk differs from ours, UPerNet's: it takes the backbone's stages without a norm, has no convolution on the first
stage, no norm in its lateral and smoothing convolutions, one smoothing convolution for all levels, and adds
neighbouring levels two by two. Heads and losses are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.config.model import ModelConfig, SegmentationConfig
from foundationx.core.errors import ConfigError
from foundationx.tasks.segmentation.head import SegmentationHead
from foundationx.tasks.segmentation.trunk import MaskTrunk


class ReleasedTrunk(MaskTrunk):
    """Pyramid pooling of the last stage, then a feature pyramid over all stages.

    Args:
        in_channels: Channels of the backbone's stages, finest first; as many as ``config.channels`` in the first.
        config: Sizes.

    Raises:
        ConfigError: The first stage has other channels, although it enters the sums as it is.
    """

    def __init__(self, in_channels: Sequence[int], config: SegmentationConfig):
        super().__init__()
        channels, last = config.channels, in_channels[-1]
        if in_channels[0] != channels:
            found = f"{channels} channels on a first stage of {in_channels[0]}"
            raise ConfigError("model.segmentation.channels", found, f"{in_channels[0]}", "set it to the first stage's")
        self.out_channels = channels
        self.stages = len(in_channels)  # of the backbone, all
        pooled = last // len(config.pool_scales)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), nn.Conv2d(last, pooled, 1, bias=False), nn.BatchNorm2d(pooled))
            for scale in config.pool_scales
        )
        self.bottleneck = _conv_norm(last + pooled * len(config.pool_scales), last)
        self.dropout = nn.Dropout2d(config.dropout)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels[1:])
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        self.fusion = _conv_norm(channels * len(in_channels), channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Raw feature maps (B, C, H, W) to one map of the first stage's size."""
        *inner, last = features
        size = _size(last)
        pooled = [_resize(pool(last).relu(), size) for pool in self.pools]
        context = self.dropout(self.bottleneck(torch.cat([last, *pooled], dim=1)).relu())
        first, *rest = [*inner, context]
        levels = [first, *(lateral(stage) for lateral, stage in zip(self.laterals, rest, strict=True))]
        sums = [self.smooth(_resize(coarse, _size(fine)) + fine) for fine, coarse in pairwise(levels)]
        maps = [_resize(level, _size(first)) for level in [*sums, levels[-1]]]
        fused: Tensor = self.fusion(torch.cat(maps, dim=1))
        return fused.relu()


class ReleasedSegmentationHead(SegmentationHead):
    """A 3x3 convolution on the released trunk's map."""

    raw_stages = True

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> ReleasedTrunk:
        """Pyramid pooling and feature pyramid as released."""
        return ReleasedTrunk(channels, config.segmentation)


def _conv_norm(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
