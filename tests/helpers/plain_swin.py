"""A plain Swin written from the paper (Liu et al., 2021) under timm's names: what exports and imports are held against.

Nothing of mmdet is used: windows are cut by loops, patches merged by slices, bias indices computed pair by pair.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def bias(self) -> Tensor:
        """(heads, window^2, window^2)."""
        positions = [(row, column) for row in range(self.window) for column in range(self.window)]
        reach = self.window - 1
        index = [[(a - c + reach) * (2 * reach + 1) + b - d + reach for c, d in positions] for a, b in positions]
        return self.relative_position_bias_table[torch.tensor(index)].permute(2, 0, 1)

    def forward(self, tokens: Tensor, allowed: Tensor) -> Tensor:
        """(n, C) tokens of one window; ``allowed`` (n, n) says which pairs may see each other."""
        count, dim = tokens.shape
        query, key, value = self.qkv(tokens).reshape(count, 3, self.heads, dim // self.heads).permute(1, 2, 0, 3)
        score = query @ key.transpose(1, 2) / (dim // self.heads) ** 0.5 + self.bias()
        score = score.masked_fill(~allowed, -100.0)
        return self.proj((score.softmax(-1) @ value).transpose(0, 1).reshape(count, dim))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, window: int, shift: int, ratio: int):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, window)
        self.mlp = Mlp(dim, ratio * dim)

    def forward(self, maps: Tensor, always_shift: bool) -> Tensor:
        """(B, H, W, C) to the same."""
        shift = self.shift if always_shift or maps.shape[1] > self.window else 0
        maps = maps + torch.stack([self.attend(image, shift) for image in self.norm1(maps)])
        return maps + self.mlp(self.norm2(maps))

    def attend(self, image: Tensor, shift: int) -> Tensor:
        """(H, W, C): every window in turn; tokens that were neighbours only by rolling do not see each other."""
        size, window = image.shape[0], self.window
        image = torch.roll(image, (-shift, -shift), (0, 1))
        zone = torch.tensor([(position >= size - window) + (position >= size - shift) for position in range(size)])
        zones = zone[:, None] * 3 + zone[None, :] if shift else torch.zeros(size, size)
        result = torch.empty_like(image)
        for top in range(0, size, window):
            for left in range(0, size, window):
                rows, columns = slice(top, top + window), slice(left, left + window)
                here = zones[rows, columns].reshape(-1)
                seen = self.attn(image[rows, columns].reshape(window * window, -1), here[:, None] == here[None, :])
                result[rows, columns] = seen.reshape(window, window, -1)
        return torch.roll(result, (shift, shift), (0, 1))


class Merge(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Stage(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, window: int, ratio: int, merge_dim: int | None):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, window, i % 2 * (window // 2), ratio) for i in range(depth))
        if merge_dim is not None:
            self.downsample = Merge(merge_dim)


class PatchEmbed(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, dim, 4, 4), nn.LayerNorm(dim)


class PlainSwin(nn.Module):
    """timm's names; ``merge_first`` puts patch merging where timm from 0.9 on has it (in the stage that follows).

    ``always_shift`` shifts windows also where one covers the whole map, as mmdet does.
    """

    def __init__(self, dim, depths, heads, window, ratio=4, merge_first=False, always_shift=False):
        super().__init__()
        self.merge_first, self.always_shift = merge_first, always_shift
        self.patch_embed = PatchEmbed(dim)
        last = len(depths) - 1
        self.layers = nn.ModuleList()
        for i, (depth, number) in enumerate(zip(depths, heads, strict=True)):
            merges = i > 0 if merge_first else i < last
            merge_dim = dim * 2 ** (i - 1 if merge_first else i)
            self.layers.append(Stage(dim * 2**i, depth, number, window, ratio, merge_dim if merges else None))
        self.norm = nn.LayerNorm(dim * 2**last)

    def stages(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the map (B, H, W, C) of every stage, before any norm."""
        maps = self.patch_embed.norm(self.patch_embed.proj(images).permute(0, 2, 3, 1))
        result = []
        for i, stage in enumerate(self.layers):
            if self.merge_first and i:
                maps = stage.downsample(maps)
            for block in stage.blocks:
                maps = block(maps, self.always_shift)
            result.append(maps)
            if not self.merge_first and i < len(self.layers) - 1:
                maps = stage.downsample(maps)
        return result

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to the pooled feature (B, C)."""
        return self.norm(self.stages(images)[-1]).mean((1, 2))


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter (norms and bias tables too) drawn, so that no mix-up of two of them can pass."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0  # the factors of a norm
        parameter.data = centre + torch.randn(parameter.shape, generator=generator) * 0.3
    return module.eval()


def as_built_by(name: str, network: nn.Module) -> nn.Module:
    """A Swin as the code of ACE and Lamps builds it: always shifted, norms with eps 1e-6. Others stay as they are."""
    if isinstance(network, PlainSwin):
        fixed = name.split()[0] in ("ace", "lamps")
        network.always_shift = fixed
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6 if fixed else 1e-5
    return network
