"""The parts of a head of scattered points: offset branch, encoder, and the layers that move points.

(``docs/methods/unihead.md``, 1.) A head is put together of them: ``PointScatter`` once for each kind of region, an
``PointEncoder`` for classes and another one for places on the same sampled features, and ``PointMover`` on the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.tasks.points.geometry import centres_and_sizes, move, scatter
from foundationx.tasks.points.options import ClassPointOptions, PointOptions
from foundationx.tasks.points.pyramid import Pyramid
from foundationx.tasks.points.sampling import POOLED, pool_regions, sample_points

PLACE_STD, CLASS_STD = 0.001, 0.01
"""Standard deviation of the weights that give offsets and shifts, and of those that give logits, at the start."""


def hidden_layer(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with the start of He et al. (2015)."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def output_layer(inputs: int, outputs: int, std: float, bias: Tensor | float = 0.0) -> nn.Linear:
    """A linear layer that begins at its ``bias``, a number or (outputs,)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=std)
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(bias).expand(outputs))
    return layer


@dataclass(slots=True)
class Scattered:
    """Points of regions.

    Attributes:
        points: (B, R, P, 2) as shares of the image, single precision.
        size: (B, R, 2), sides of the regions, likewise.
        features: (B, R, P, C) at the points.
    """

    points: Tensor
    size: Tensor
    features: Tensor

    def moved(self, shifts: Tensor) -> Tensor:
        """Output points (B, R, P, 2) by shifts (B, R, P, 2); with (B, R, K, P, 2), those of K classes."""
        if shifts.dim() == 5:
            return move(self.points[:, :, None], self.size[:, :, None], shifts)
        return move(self.points, self.size, shifts)


class PointScatter(nn.Module):
    """Offset branch: a region is pooled, each of its points gets an offset, and features are sampled there.

    Args:
        options: Width and ``as_released``.
        offsets: (P, 2), offsets at the start, in units of a tenth of the region's sides.
    """

    def __init__(self, options: PointOptions, offsets: Tensor):
        super().__init__()
        self.as_released = options.as_released
        self.hidden = hidden_layer(POOLED**2 * options.channels, options.channels)
        self.offsets = output_layer(options.channels, offsets.numel(), PLACE_STD, offsets.flatten())

    def forward(self, pyramid: Pyramid, regions: Tensor, levels: Tensor | None = None) -> Scattered:
        """Scatters points over regions.

        Args:
            pyramid: Levels of ``options.channels`` channels.
            regions: (B, R, 4) x1 y1 x2 y2 as shares of the image; they get no gradient.
            levels: (B, R) int64, the level that each region is sampled from; None: by its size.
        """
        regions = regions.detach().float()
        levels = pyramid.level_of(regions) if levels is None else levels
        pooled = pool_regions(pyramid, regions, levels).flatten(2)
        offsets = self.offsets(self.hidden(pooled).relu()).unflatten(2, (-1, 2))
        return scattered(pyramid, regions, levels, offsets, as_released=self.as_released)


def norm_groups(channels: int) -> int:
    """Groups of a normalisation: 32 as published; fewer in narrow heads, so that each has 8 channels or is alone.

    A map of one cell has nothing else that it could be normalised by.
    """
    return next(count for count in (32, 16, 8, 4, 2, 1) if count == 1 or channels % (8 * count) == 0)


class DenseScatter(nn.Module):
    """Offset branch of regions around every cell: convolutions give the offsets of all of them.

    Args:
        options: Width and ``as_released``.
        offsets: (P, 2), offsets at the start, in units of a tenth of the region's sides.
    """

    def __init__(self, options: PointOptions, offsets: Tensor):
        super().__init__()
        self.as_released = options.as_released
        self.hidden = nn.Conv2d(options.channels, options.channels, kernel_size=3, padding=1, bias=False)
        self.norm = nn.GroupNorm(norm_groups(options.channels), options.channels)
        self.offsets = nn.Conv2d(options.channels, offsets.numel(), kernel_size=3, padding=1)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
        nn.init.normal_(self.offsets.weight, std=PLACE_STD)
        with torch.no_grad():
            assert self.offsets.bias is not None
            self.offsets.bias.copy_(offsets.flatten())

    def forward(self, pyramid: Pyramid, regions: Tensor, levels: Tensor) -> Scattered:
        """Scatters points over regions (R, 4), one for each cell of the pyramid's levels (R,), row by row."""
        maps = [self.offsets(self.norm(self.hidden(level)).relu()) for level in pyramid.maps()]
        offsets = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1).unflatten(2, (-1, 2))
        images = len(offsets)
        regions, levels = regions.expand(images, -1, -1), levels.expand(images, -1)
        return scattered(pyramid, regions, levels, offsets, as_released=self.as_released)


def scattered(pyramid: Pyramid, regions: Tensor, levels: Tensor, offsets: Tensor, *, as_released: bool) -> Scattered:
    """Points of regions (B, R, 4) on levels (B, R) by offsets (B, R, P, 2), and what is there."""
    centre, size = centres_and_sizes(regions, pyramid.pixel() if as_released else None)
    points = scatter(centre, size, offsets.float())
    return Scattered(points, size, sample_points(pyramid, points, levels, as_released=as_released))


class PointBlock(nn.Module):
    """A pre-norm transformer block without positions, whose feed-forward network is as wide as its tokens.

    Args:
        channels: Width C.
        heads: Attention heads; they divide the width.
        dropout: Of attention, projection and feed-forward network.
    """

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(channels)
        self.qkv = hidden_layer(channels, 3 * channels, bias=False)
        self.projection = hidden_layer(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp_in = hidden_layer(channels, channels)
        self.mlp_out = hidden_layer(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, C) to (N, T, C)."""
        dropout = self.dropout if self.training else 0.0
        heads = self.qkv(self.attention_norm(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], dropout_p=dropout)
        tokens = tokens + F.dropout(self.projection(found.transpose(1, 2).flatten(2)), self.dropout, self.training)
        hidden = F.dropout(F.gelu(self.mlp_in(self.mlp_norm(tokens))), self.dropout, self.training)
        return tokens + F.dropout(self.mlp_out(hidden), self.dropout, self.training)


class PointEncoder(nn.Module):
    """Relates the points of each region to each other, and perhaps a learned token to all of them.

    Args:
        options: Width, attention heads and dropout.
        blocks: Number of blocks.
        has_token: Whether a token stands before the points.
    """

    def __init__(self, options: PointOptions, blocks: int, *, has_token: bool = True):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, options.channels)) if has_token else None
        self.blocks = nn.Sequential(
            *(PointBlock(options.channels, options.attention_heads, options.dropout) for _ in range(blocks))
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, R, P, C) of points to (B, R, P, C); with a token (B, R, 1 + P, C), the token first."""
        tokens = features.flatten(0, 1)
        if self.token is not None:
            tokens = torch.cat([self.token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
        encoded: Tensor = self.blocks(tokens)
        return encoded.unflatten(0, features.shape[:2])


class TokenClassifier(nn.Module):
    """Class logits of all tokens of a region.

    Args:
        tokens: Number of tokens T.
        extra: Width of a further feature of the region.
        classes: Number of logits K.
        options: Widths.
        bias: Logit at the start.
    """

    def __init__(self, tokens: int, classes: int, options: ClassPointOptions, *, extra: int = 0, bias: float = 0.0):
        super().__init__()
        self.hidden = hidden_layer(tokens * options.channels, options.class_hidden)
        self.logits = output_layer(options.class_hidden + extra, classes, CLASS_STD, bias)

    def forward(self, encoded: Tensor, extra: Tensor | None = None) -> Tensor:
        """Encoded tokens (B, R, T, C), and a further feature (B, R, D) if there is one, to logits (B, R, K)."""
        hidden = self.hidden(encoded.flatten(2)).relu()
        return self.logits(hidden if extra is None else torch.cat([hidden, extra.to(hidden.dtype)], dim=2))


class PointMover(nn.Module):
    """Shifts of a region's points.

    Args:
        tokens: Number of tokens T that the shifts are computed of.
        hidden: Width of the hidden layer.
        shifts: (P, 2), shifts at the start, in units of half the region's sides.
        options: Width of a token.
        copies: Sets of shifts: one, or one for each class.
    """

    def __init__(self, tokens: int, hidden: int, shifts: Tensor, options: PointOptions, *, copies: int = 1):
        super().__init__()
        self.hidden = hidden_layer(tokens * options.channels, hidden)
        self.shifts = output_layer(hidden, copies * shifts.numel(), PLACE_STD, shifts.flatten().repeat(copies))
        self.points = len(shifts)

    def forward(self, encoded: Tensor) -> Tensor:
        """Encoded tokens (B, R, T, C) to shifts (B, R, K, P, 2) of K sets."""
        shifts = self.shifts(self.hidden(encoded.flatten(2)).relu())
        return shifts.unflatten(2, (-1, self.points, 2)).float()
