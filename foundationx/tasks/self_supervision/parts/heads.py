"""Heads of self-supervised objectives. Layer normalisation throughout, never over a batch.

See ``docs/methods/self_supervision.md``, "7.4 Heads".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.geometry.boxes import Grid
from foundationx.core.geometry.views import CELL


def mlp(widths: Sequence[int], *, norm: bool = False, gelu: bool = False, last_bias: bool = True) -> nn.Sequential:
    """Linear layers on the last axis, with ReLU (or GELU) between them, after a layer normalisation if ``norm``.

    Args:
        widths: of the input, the hidden layers and the output.
        norm: normalise before every activation; the layers before it then have no bias.
        gelu: GELU instead of ReLU.
        last_bias: whether the last layer has a bias.
    """
    layers: list[nn.Module] = []
    for position, (width, following) in enumerate(itertools.pairwise(widths), start=2):
        last = position == len(widths)
        layers.append(nn.Linear(width, following, bias=last_bias if last else not norm))
        if not last:
            layers += [nn.LayerNorm(following)] * norm + [nn.GELU() if gelu else nn.ReLU()]
    return nn.Sequential(*layers)


class Prototypes(nn.Module):
    """Cosines to learned unit vectors (DINO's head): (..., D) to logits (..., K) in [-1, 1].

    Layers begin as DINO's: torch's own biases would add one direction to all images, and what differs is little.

    Args:
        features: D.
        hidden: width of the two hidden layers.
        bottleneck: width of the unit vectors.
        count: K.
    """

    def __init__(self, features: int, hidden: int, bottleneck: int, count: int):
        super().__init__()
        self.mlp = mlp([features, hidden, hidden, bottleneck], gelu=True)
        self.weight = nn.Parameter(torch.empty(count, bottleneck))
        nn.init.trunc_normal_(self.weight, std=0.02)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, feature: Tensor, still: bool = False) -> Tensor:
        """Logits; if ``still`` the prototypes themselves do not learn (the first steps of DINO)."""
        weight = self.weight.detach() if still else self.weight
        return F.linear(F.normalize(self.mlp(feature), dim=-1), F.normalize(weight, dim=-1))


class PixelHead(nn.Module):
    """Grey pixels from tokens: (B, N, D) to (B, 1, S, S), each token its own block of ``CELL`` x ``CELL`` pixels."""

    def __init__(self, features: int):
        super().__init__()
        self.linear = nn.Linear(features, CELL * CELL)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Blocks put side by side."""
        maps = self.linear(tokens).transpose(1, 2).unflatten(2, grid)
        return F.pixel_shuffle(maps, CELL)


class Up(nn.Module):
    """Every token becomes two by two finer ones: (B, N, D) to (B, 4 N, D)."""

    def __init__(self, features: int):
        super().__init__()
        self.mlp = mlp([features, 4 * features, 4 * features], norm=True)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens of a grid of twice the rows and columns, row by row."""
        parts = self.mlp(tokens).unflatten(2, (2, 2, -1)).unflatten(1, grid)  # rows, columns, down, across, D
        return parts.transpose(2, 3).flatten(1, 4)


class Down(nn.Module):
    """Two by two tokens become one: (B, N, D) to (B, N / 4, D)."""

    def __init__(self, features: int):
        super().__init__()
        self.mlp = mlp([4 * features, features, features], norm=True)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens of a grid of half the rows and columns; both must be even."""
        return self.mlp(group(tokens, grid))


def group(tokens: Tensor, grid: Grid) -> Tensor:
    """Two by two tokens side by side: (B, N, D) to (B, N / 4, 4 D)."""
    maps = tokens.unflatten(1, (grid[0] // 2, 2, grid[1] // 2, 2))
    return maps.transpose(2, 3).flatten(3, 5).flatten(1, 2)


class TokenDecoder(nn.Module):
    """Guesses the tokens of a whole view from those of a window in it.

    See ``docs/methods/self_supervision.md``, "5.2 Extrapolation".

    Args:
        features: D.
        cells: tokens per side.
        depth: transformer blocks.
    """

    places: Tensor

    def __init__(self, features: int, cells: int, depth: int):
        super().__init__()
        self.unseen = nn.Parameter(torch.zeros(features))
        nn.init.trunc_normal_(self.unseen, std=0.02)
        self.register_buffer("places", sine_places(features, cells), persistent=False)
        layers = [_block(features) for _ in range(depth)]
        self.blocks = nn.Sequential(*layers, nn.LayerNorm(features))

    def forward(self, tokens: Tensor, index: Tensor, seen: Tensor) -> Tensor:
        """All tokens of the view.

        Args:
            tokens: (B, M, D) of the window.
            index: (B, N) which of them is at each position of the view.
            seen: (B, N) whether the position is in the window; elsewhere the learned token is used.
        """
        slots = tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))
        return self.blocks(torch.where(seen[..., None], slots, self.unseen.to(slots.dtype)) + self.places)


def _block(features: int) -> nn.Module:
    heads = max(1, features // 64)
    return nn.TransformerEncoderLayer(
        features, heads, 4 * features, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


def sine_places(features: int, cells: int) -> Tensor:
    """Fixed positions (N, D): sines and cosines of the row in one half of the features, of the column in the other."""
    quarter = features // 4
    rates = 10000.0 ** (-torch.arange(quarter) / quarter)
    angles = torch.arange(cells)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(-1, cells, -1)
    columns = line[None].expand(cells, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
