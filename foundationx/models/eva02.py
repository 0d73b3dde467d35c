"""EVA-02 (Fang et al. 2023, arXiv 2303.11331) as a backbone, and EVA-X, which has its architecture.

A plain vision transformer with rotary positions beside a table of absolute ones, SwiGLU and keys without bias. Written
here because transformers has none, and timm needs torchvision, which PyPI offers for CUDA builds of torch alone.

Importing this file registers ``mmdet.EVA02``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundationx.core.openmmlab import MMDET_MODELS
from foundationx.models.plain_vit import ROTARY_BASE, PlainViT, Pooled

EPS = 1e-6
"""Of all layer norms, as in the authors' code."""


def rotary_angles(grid: tuple[int, int], trained_grid: int, head_width: int) -> Tensor:
    """Angle by which each pair of channels of a query or key is turned.

    Args:
        grid: Rows and columns of patches.
        trained_grid: Rows (and columns) of the pretraining, on which other grids are laid.
        head_width: Channels per attention head; the first half turns with the row, the second with the column.

    Returns:
        (rows * columns, head_width / 2), in radians.
    """
    count = head_width // 4
    frequencies = ROTARY_BASE ** (-torch.arange(count, dtype=torch.float32) / count)
    rows, columns = (torch.arange(side, dtype=torch.float32) / side * trained_grid for side in grid)
    angles = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)[..., None] * frequencies
    return angles.flatten(2).flatten(0, 1)


def turned(values: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns pairs of neighbouring channels of (B, heads, N, D) ``values``; ``cosine`` and ``sine`` are (N, D / 2)."""
    first, second = values[..., 0::2], values[..., 1::2]
    return torch.stack((first * cosine - second * sine, second * cosine + first * sine), -1).flatten(-2)


class Attention(nn.Module):
    """Self-attention with rotary positions of the patches.

    Args:
        width: Channels C of the tokens.
        heads: Attention heads.
        inner_norm: Whether the result is normed before the last projection.
    """

    def __init__(self, width: int, heads: int, inner_norm: bool):
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width, eps=EPS) if inner_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """(B, 1 + N, C) to the same shape; the class token, the first, is not turned."""
        query, key, value = (
            project(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = (
            torch.cat((part[:, :, :1], turned(part[:, :, 1:], cosine, sine)), dim=2).to(value.dtype)
            for part in (query, key)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.proj(self.norm(mixed))


class SwiGLU(nn.Module):
    """Feed-forward network with a gate.

    Args:
        width: Channels of the tokens.
        hidden: Channels of the hidden layer.
        inner_norm: Whether the hidden layer is normed.
    """

    def __init__(self, width: int, hidden: int, inner_norm: bool):
        super().__init__()
        self.gate, self.value = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=EPS) if inner_norm else nn.Identity()
        self.out = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to the same shape."""
        return self.out(self.norm(F.silu(self.gate(tokens)) * self.value(tokens)))


class Block(nn.Module):
    """One residual block.

    Args:
        width: Channels of the tokens.
        heads: Attention heads.
        hidden: Channels of the hidden layer.
        drop_path: Chance that a training sample skips the block.
        attention_norm: Norm inside attention.
        mlp_norm: Norm inside the feed-forward network.
    """

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float, *, attention_norm: bool, mlp_norm: bool):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads, attention_norm)
        self.mlp = SwiGLU(width, hidden, mlp_norm)
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """(B, 1 + N, C) to the same shape."""
        tokens = tokens + self._kept(self.attn(self.norm1(tokens), cosine, sine))
        return tokens + self._kept(self.mlp(self.norm2(tokens)))

    def _kept(self, inner: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return inner
        kept = torch.rand(len(inner), 1, 1, device=inner.device) >= self.drop_path
        return inner * kept / (1 - self.drop_path)


@MMDET_MODELS.register_module()
class EVA02(PlainViT):
    """EVA-02 without its classifier, with the maps of :class:`PlainViT`.

    Args:
        image_size: Side of the images that ``pos_embed`` is stored for, in pixels; other sizes are interpolated.
        patch_size: Side of a patch in pixels.
        width: Channels of the tokens.
        depth: Blocks.
        heads: Attention heads.
        hidden: Channels of the hidden layer of SwiGLU.
        trained_grid: Patches per side in pretraining, on which rotary positions are laid; None for those of
            ``image_size``.
        mlp_norm: Norm inside SwiGLU (EVA-02 and EVA-X of size B and larger).
        attention_norm: Norm inside attention (EVA-02 CLIP).
        pooled_norm: Whether the last norm takes the statistics of the averaged patches, as in fine-tuned EVA-X, whose
            classifier norms that average; False norms every token by itself.
        drop_path_rate: Of the last block; earlier ones have less, in equal steps.
        pooled: What the mean over the coarsest map is.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int = 2048,
        trained_grid: int | None = None,
        mlp_norm: bool = True,
        attention_norm: bool = False,
        pooled_norm: bool = False,
        drop_path_rate: float = 0.0,
        pooled: Pooled = "patches",
    ):
        super().__init__(width, patch_size, 1, pooled)
        if width % heads or (width // heads) % 4:
            raise ValueError(f"width {width} and heads {heads}: channels per head have to be a multiple of 4")
        self.side = image_size // patch_size
        self.trained_grid = trained_grid or self.side
        self.patch_embed = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, rate, attention_norm=attention_norm, mlp_norm=mlp_norm) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.pooled_norm = pooled_norm
        self.head_width = width // heads
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        self.blocks.apply(_start)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to (B, 1 + N, C) tokens after the last norm."""
        patches = self.patch_embed(images)
        grid = patches.shape[-2], patches.shape[-1]
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), dim=1)
        tokens = tokens + self._positions(grid)
        angles = rotary_angles(grid, self.trained_grid, self.head_width).to(images.device)
        cosine, sine = angles.cos(), angles.sin()
        for block in self.blocks:
            tokens = block(tokens, cosine, sine)
        return self._normed_as_average(tokens) if self.pooled_norm else self.norm(tokens)

    def _normed_as_average(self, tokens: Tensor) -> Tensor:
        variance, mean = torch.var_mean(tokens[:, 1:].mean(1, keepdim=True), dim=2, correction=0, keepdim=True)
        return (tokens - mean) * (variance + EPS).rsqrt() * self.norm.weight + self.norm.bias

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """The table of positions for a grid of patches: (1, 1 + N, C)."""
        if grid == (self.side, self.side):
            return self.pos_embed
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        resized = F.interpolate(table.float(), size=grid, mode="bicubic", align_corners=False, antialias=True)
        return torch.cat((self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)), dim=1)


def _start(module: nn.Module) -> None:
    """First weights, as published: a normal distribution cut at two, of deviation 0.02; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
