"""Multi-scale deformable attention in plain PyTorch: nothing to compile, on CPU and CUDA, any float type.

(Zhu et al., Deformable DETR, 2021.) Parameter names are those of mmcv's module, so mmdet's weights load.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.tasks.detection.weighted_rows import sum_rows


def deformable_attention(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Samples every level bilinearly at the locations and adds up with the weights.

    By rows on a CPU (``weighted_rows.py``), by ``grid_sample`` elsewhere and when compiled. Locations keep
    at least single precision: in bf16 they would be off by a fifth of a cell on a level 100 cells wide.

    Args:
        value: (B, N, M, D), M heads, N tokens of all levels in order.
        spatial_shapes: height and width of each level, as plain integers (reading them needs no device).
        locations: (B, Q, M, levels, P, 2), x and y as shares of the image; outside it there are zeros.
        weights: (B, Q, M, levels, P), adding up to 1 over levels and points.

    Returns:
        (B, Q, M * D), of the value's type.
    """
    by_rows = value.device.type == "cpu" and not torch.compiler.is_compiling()
    return (sum_rows if by_rows else sample_grids)(value, spatial_shapes, locations, weights)


def sample_grids(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """As :func:`deformable_attention`, on any device; no tensor holds the samples of all levels at once."""
    batch, _, heads, features = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    precise = torch.promote_types(value.dtype, torch.float32)
    grids = (2 * locations.to(precise) - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (levels, B * M, Q, P, 2)
    shares = weights.to(value.dtype).permute(3, 0, 2, 1, 4)
    shares = shares.reshape(len(spatial_shapes), batch * heads, 1, queries, points)
    total = value.new_zeros(batch * heads, features, queries, dtype=precise)
    start = 0
    for level, (height, width) in enumerate(spatial_shapes):
        tokens = value[:, start : start + height * width]
        start += height * width
        image = tokens.permute(0, 2, 3, 1).reshape(batch * heads, features, height, width).to(precise)
        sampled = F.grid_sample(image, grids[level], mode="bilinear", padding_mode="zeros", align_corners=False)
        total = total + (sampled.to(value.dtype) * shares[level]).sum(-1, dtype=precise)
    return total.to(value.dtype).view(batch, heads * features, queries).transpose(1, 2)


def _level_sizes(spatial_shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Width and height of each level (levels, 2), filled on the device: a copy from the host would wait for it."""
    sizes = [like.new_full((1,), size) for height, width in spatial_shapes for size in (width, height)]
    return torch.cat(sizes).view(-1, 2)


class DeformableAttention(nn.Module):
    """Drop-in for mmcv's ``MultiScaleDeformableAttention`` (batch first, no dropout).

    Args:
        embed_dims: D of queries and values.
        num_heads: M; divides D.
        num_levels: levels of the memory.
        num_points: P, samples a query takes in each head and level.
    """

    def __init__(self, embed_dims: int, num_heads: int, num_levels: int, num_points: int):
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = nn.Linear(embed_dims, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(embed_dims, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Heads begin by looking in different directions, points at growing distance."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        distances = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = directions[:, None, None, :] * distances[None, None, :, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).reshape(-1))

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        reference_points: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        query_pos: Tensor | None = None,
        identity: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        **ignored: Any,
    ) -> Tensor:
        """Attention with a residual connection, as mmdet's layers call it.

        Args:
            query: (B, Q, D).
            value: (B, N, D), the memory.
            reference_points: (B, Q, levels, 2) points or (B, Q, levels, 4) boxes (centre and size), as shares.
            spatial_shapes: height and width of each level.
            query_pos: (B, Q, D), added to the query.
            identity: Added to the output; the query if None.
            key_padding_mask: (B, N), True for tokens of the padding, whose values are zero.
            ignored: What mmdet's layers pass besides (keys and their positions).

        Returns:
            (B, Q, D).
        """
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        batch, queries, _ = query.shape
        pattern = (batch, queries, self.num_heads, self.num_levels, self.num_points)
        values = self.value_proj(value)
        if key_padding_mask is not None:
            values = values.masked_fill(key_padding_mask[..., None], 0.0)
        values = values.view(batch, value.shape[1], self.num_heads, -1)
        offsets = self.sampling_offsets(query).view(*pattern, 2)
        weights = self.attention_weights(query).view(*pattern[:3], -1).softmax(-1).view(pattern)
        reference = reference_points[:, :, None, :, None]
        if reference_points.shape[-1] == 2:
            locations = reference + offsets / _level_sizes(spatial_shapes, reference)[:, None]
        else:
            locations = reference[..., :2] + offsets / self.num_points * reference[..., 2:] * 0.5
        return self.output_proj(deformable_attention(values, spatial_shapes, locations, weights)) + identity
