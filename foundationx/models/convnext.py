"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545) as a backbone, under the names of its authors' weights.

A stage is a patchwise downsampling and some blocks: a depthwise 7 x 7 convolution, a layer norm over channels, two
linear layers with GELU between them, a learned factor a channel, and the residual. Written here because mmdet and
mmseg have none, and the libraries that have one cannot be had without more packages (``docs/weights.md``).

Importing this file registers ``mmdet.ConvNeXt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundationx.core.openmmlab import MMDET_MODELS
from foundationx.models.norms import EPS, ChannelNorm


class PooledNorm(ChannelNorm):
    """Layer norm whose statistics are those of the mean over all positions, for maps that are averaged afterwards.

    ConvNeXt's classifier norms the averaged feature. The mean of what this returns is that norm of the mean exactly,
    where ``ChannelNorm`` would give the mean of norms; and there still is a feature at every position.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        variance, mean = torch.var_mean(maps.mean((2, 3)), dim=1, correction=0)
        scaled = (maps - mean[:, None, None, None]) * (variance[:, None, None, None] + EPS).rsqrt()
        return scaled * self.weight[:, None, None] + self.bias[:, None, None]


class Block(nn.Module):
    """One residual block.

    Args:
        channels: of input and output.
        drop_path: chance that a training sample skips the block.
        layer_scale: first value of the factor a channel; 0 for no factor.
    """

    def __init__(self, channels: int, drop_path: float, layer_scale: float):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale)) if layer_scale else None
        self.drop_path = drop_path

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        inner = self.norm(self.dwconv(maps).permute(0, 2, 3, 1))
        inner = self.pwconv2(F.gelu(self.pwconv1(inner)))
        if self.gamma is not None:
            inner = inner * self.gamma
        inner = inner.permute(0, 3, 1, 2)
        if self.training and self.drop_path:
            kept = torch.rand(len(maps), 1, 1, 1, device=maps.device) >= self.drop_path
            inner = inner * kept / (1 - self.drop_path)
        return maps + inner


@MMDET_MODELS.register_module()
class ConvNeXt(nn.Module):
    """ConvNeXt without its classifier; strides 4, 8, 16, 32.

    Args:
        depths: blocks a stage.
        dims: channels a stage.
        drop_path_rate: of the last block; earlier ones have less, in equal steps.
        layer_scale: first value of the factor a channel; 0 for none.
        out_indices: stages to give, each through a norm of its own (``norm0`` ...).
        pooled_norm: the last stage's norm takes the statistics of the averaged feature (``PooledNorm``), as the
            authors' classifier does; False norms every position by itself.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 27, 3),
        dims: Sequence[int] = (128, 256, 512, 1024),
        drop_path_rate: float = 0.0,
        layer_scale: float = 1e-6,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        pooled_norm: bool = False,
    ):
        super().__init__()
        if len(depths) != len(dims):
            raise ValueError(f"{len(depths)} depths and {len(dims)} dims: one of each a stage")
        if not set(out_indices) <= set(range(len(dims))):
            raise ValueError(f"out_indices {tuple(out_indices)}: there are {len(dims)} stages, numbered from 0")
        self.out_indices = tuple(out_indices)
        stem = nn.Sequential(nn.Conv2d(3, dims[0], kernel_size=4, stride=4), ChannelNorm(dims[0]))
        halvings = (
            nn.Sequential(ChannelNorm(finer), nn.Conv2d(finer, coarser, kernel_size=2, stride=2))
            for finer, coarser in pairwise(dims)
        )
        self.downsample_layers = nn.ModuleList([stem, *halvings])
        count = sum(depths)
        rates = iter([drop_path_rate * i / max(count - 1, 1) for i in range(count)])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(channels, next(rates), layer_scale) for _ in range(depth)))
            for depth, channels in zip(depths, dims, strict=True)
        )
        for i in self.out_indices:
            kind = PooledNorm if pooled_norm and i == len(dims) - 1 else ChannelNorm
            self.add_module(f"norm{i}", kind(dims[i]))
        self.apply(_start)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised images to maps (B, dims[i], H / 2^(i+2), W / 2^(i+2)) of ``out_indices``."""
        maps, features = images, []
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            maps = stage(downsample(maps))
            if i in self.out_indices:
                features.append(self.get_submodule(f"norm{i}")(maps))
        return tuple(features)


def _start(module: nn.Module) -> None:
    """First weights, as published: a normal distribution cut at two, of deviation 0.02; biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
