"""Multi-scale maps from a plain vision transformer, which has one map of one stride.

The simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527): every map is made of the last map alone, the
finer ones by transposed convolutions. The coarsest map is an average, so that its mean over all positions is the mean
of the patch tokens exactly: classification and exports use the published feature.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from foundationx.models.norms import ChannelNorm

COARSEST = 32
"""Stride of the coarsest map in pixels, if the patch size is a power of two; each finer one has half of the next."""

LEVELS = 4
"""Maps of a pyramid."""

ROTARY_BASE = 10_000.0
"""Base of the rotary frequencies of EVA-02."""

Pooled = Literal["patches", "class"]
"""What the mean over the coarsest map is: the mean of the patch tokens, or the class token."""


def halvings(patch_size: int) -> int:
    """How often the map of a transformer is halved for the coarsest map: once for patches of 14 and 16 pixels."""
    return max(0, round(math.log2(COARSEST / patch_size)))


class FeaturePyramid(nn.Module):
    """Four maps out of one.

    Args:
        channels: Channels C of the map.
        patch_size: Pixels that a token covers per side.
    """

    def __init__(self, channels: int, patch_size: int):
        super().__init__()
        coarsest = halvings(patch_size)
        self.steps = [LEVELS - 1 - level - coarsest for level in range(LEVELS)]  # > 0: doublings, < 0: halvings
        self.finer = nn.ModuleList(_doublings(channels, steps) for steps in self.steps if steps > 0)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, C, h, w) to maps, finest first: (B, C / 2^n, h * 2^n, w * 2^n) for n doublings, C channels for others."""
        finer = [level(tokens) for level in self.finer]
        others = [F.avg_pool2d(tokens, 2**-steps) if steps else tokens for steps in self.steps if steps <= 0]
        return (*finer, *others)


def _doublings(channels: int, count: int) -> nn.Sequential:
    """``count`` transposed convolutions, each of half the channels of the one before; norm and GELU between them."""
    layers: list[nn.Module] = []
    for number in range(count):
        if number:
            layers += [ChannelNorm(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, max(1, channels // 2), kernel_size=2, stride=2))
        channels = max(1, channels // 2)
    return nn.Sequential(*layers)


class PlainViT(nn.Module):
    """Base of plain vision transformers as backbones.

    Images whose sides are no multiple of the coarsest map's stride (patches of 14 pixels at 512) are resized to the
    nearest one first, bilinearly: maps cover the whole image, and nothing is cut off.

    Args:
        channels: Width C of the tokens.
        patch_size: Pixels that a token covers per side.
        prefix: Tokens before those of the patches: class token and registers.
        pooled: What the mean over the coarsest map is; ``class`` needs a class token.

    Raises:
        ValueError: ``pooled`` is ``class``, and there is no class token.
    """

    def __init__(self, channels: int, patch_size: int, prefix: int, pooled: Pooled):
        super().__init__()
        if pooled == "class" and not prefix:
            raise ValueError("pooled='class': this network has no class token")
        self.patch_size, self.prefix, self.pooled = patch_size, prefix, pooled
        self.multiple = patch_size * 2 ** halvings(patch_size)
        self.pyramid = FeaturePyramid(channels, patch_size)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images of fitting sides to (B, prefix + N, C) tokens after the last norm."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised images to four maps, finest first, of strides 4, 8, 16 and 32 (patches of 16)."""
        images = self._fitted(images)
        tokens = self.tokens(images)
        grid = images.shape[-2] // self.patch_size, images.shape[-1] // self.patch_size
        maps = self.pyramid(tokens[:, self.prefix :].transpose(1, 2).unflatten(2, grid))
        if self.pooled == "class":
            shifted = maps[-1] + (tokens[:, 0] - maps[-1].mean((2, 3)))[:, :, None, None]
            maps = (*maps[:-1], shifted)
        return maps

    def _fitted(self, images: Tensor) -> Tensor:
        sides = [max(1, round(side / self.multiple)) * self.multiple for side in images.shape[-2:]]
        if sides == list(images.shape[-2:]):
            return images
        return F.interpolate(images, size=sides, mode="bilinear", align_corners=False)
