"""Swin as published: windows are not shifted if one window covers the whole map.

mmdet's Swin shifts the windows of every second block of every stage, and so do the released Foundation X and X+, ACE
and Lamps. The published one, timm's, Hugging Face's and the released Ark, Ark+ and PEAC leave the shift out if the map
is no larger than the window (stage 4 of a window of 7 at 224 pixels, of 12 at 384). The weights have equal names and
shapes; only the features differ (``docs/weights.md``). On maps that are larger than the window in every stage the two
are the same.

Importing this file registers ``mmdet.PublishedSwin``.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundationx.core.openmmlab import MMDET_MODELS, ShiftWindowMSA, SwinTransformer


class PublishedWindowAttention(ShiftWindowMSA):
    """mmdet's shifted-window attention that does not shift if the shorter side of the map fits into one window.

    The mask of shifted windows is made once a size of map; mmdet makes it in every block of every step.

    Args:
        shifted: the attention whose layers (and names) it takes over.
    """

    def __init__(self, shifted: ShiftWindowMSA):
        super(ShiftWindowMSA, self).__init__()  # without its own, which would make new layers
        self.window_size, self.shift_size = shifted.window_size, shifted.shift_size
        self.w_msa, self.drop = shifted.w_msa, shifted.drop

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) tokens of a map of ``hw_shape`` (H, W) to the same shape."""
        (height, width), window = hw_shape, self.window_size
        shift = self.shift_size if min(hw_shape) > window else 0
        padded = height + -height % window, width + -width % window
        maps = F.pad(query.unflatten(1, (height, width)), (0, 0, 0, padded[1] - width, 0, padded[0] - height))
        mask = None
        if shift:
            maps = maps.roll((-shift, -shift), dims=(1, 2))
            mask = shift_mask(padded, window, shift, maps.device)
        windows = self.window_partition(maps)
        windows = self.w_msa(windows.flatten(1, 2), mask=mask).unflatten(1, (window, window))
        maps = self.window_reverse(windows, *padded)
        if shift:
            maps = maps.roll((shift, shift), dims=(1, 2))
        return self.drop(maps[:, :height, :width].flatten(1, 2))


def shift_mask(size: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """What is added to the scores of a shifted map: -100 between pixels that were not neighbours before, else 0.

    Args:
        size: height and width of the map, multiples of ``window``.
        window: side of a window.
        shift: by how much the map was rolled.
        device: of the mask.

    Returns:
        (windows, window^2, window^2), not to be written to: while nothing is being traced, the same one each time.
    """
    make = _shift_mask if torch.compiler.is_compiling() else _kept_shift_mask
    return make(size, window, shift, device)


def _shift_mask(size: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    # Rolling brings the first rows (columns) behind the last ones: 0 inside, 1 in the last window, 2 brought there.
    rows, columns = (torch.arange(side, device=device) for side in size)
    rows, columns = (
        (places >= side - window).long() + (places >= side - shift).long()
        for places, side in zip((rows, columns), size, strict=True)
    )
    areas = (3 * rows[:, None] + columns).unflatten(0, (-1, window)).unflatten(2, (-1, window))
    areas = areas.transpose(1, 2).flatten(2).flatten(0, 1)
    return (areas[:, :, None] != areas[:, None]).float() * -100.0 + 0.0  # adding turns -0 into 0


_kept_shift_mask = functools.lru_cache(maxsize=32)(_shift_mask)


class WindowMSA(nn.Module):
    """mmdet's attention inside windows: equal losses and gradients, with fewer passes over memory.

    mmdet takes query, key and value out of one tensor by their index, so that the gradient of each is laid into a
    tensor of zeros as large as all three, and these are added. Here they are parts whose gradients are put together.

    Args:
        plain: the attention whose layers (and names) it takes over.
    """

    relative_position_index: Tensor

    def __init__(self, plain: Any):
        super().__init__()
        self.window_size, self.num_heads, self.scale = plain.window_size, plain.num_heads, plain.scale
        self.relative_position_bias_table = plain.relative_position_bias_table
        self.register_buffer("relative_position_index", plain.relative_position_index)
        self.qkv, self.proj, self.proj_drop = plain.qkv, plain.proj, plain.proj_drop
        self.softmax, self.attn_drop = plain.softmax, plain.attn_drop

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(windows, N, C) tokens to the same shape; ``mask`` (windows per image, N, N) is added to scores."""
        query, key, value = self._parts(x)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        scores = scores + self._bias().contiguous()
        if mask is not None:
            scores = (scores.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        mixed = self.attn_drop(self.softmax(scores)) @ value
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(x.shape)))

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value (windows, heads, N, C / heads) of (windows, N, C) tokens."""
        windows, tokens, _ = x.shape
        return self.qkv(x).view(windows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def _bias(self) -> Tensor:
        """(1, heads, N, N) what is added to scores by the places of two tokens."""
        index = self.relative_position_index
        bias = self.relative_position_bias_table[index.view(-1)]
        return bias.view(*index.shape, -1).permute(2, 0, 1)[None]


class FusedWindowMSA(WindowMSA):
    """The same by torch's fused kernel, equal to rounding; no dropout of the weights."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(windows, N, C) tokens to the same shape; ``mask`` (windows per image, N, N) is added to scores."""
        windows, tokens, channels = x.shape
        query, key, value = self._parts(x)
        bias = self._bias()
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(windows // len(mask), 1, 1, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), scale=self.scale)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(windows, tokens, channels)))


@MMDET_MODELS.register_module()
class PublishedSwin(SwinTransformer):
    """mmdet's ``SwinTransformer`` (same arguments, same names of weights) with the published rule of shifting.

    Args:
        fused_attention: attention by torch's fused kernel: other roundings, less memory on CUDA.
        arguments: mmdet's.

    Raises:
        ValueError: ``fused_attention`` with ``attn_drop_rate``.
    """

    def __init__(self, *, fused_attention: bool = False, **arguments: Any):
        super().__init__(**arguments)
        if fused_attention and arguments.get("attn_drop_rate"):
            raise ValueError("fused_attention drops no attention weights: leave out attn_drop_rate")
        for stage in self.stages:
            for block in stage.blocks:
                kind = FusedWindowMSA if fused_attention else WindowMSA
                block.attn.w_msa = kind(block.attn.w_msa)
                if block.attn.shift_size > 0:
                    block.attn = PublishedWindowAttention(block.attn)


def raw_stages(net: Any, images: Tensor) -> tuple[Tensor, ...]:
    """Feature maps of a Swin's stages before their norms, as the released Foundation X segments.

    Args:
        net: Swin of mmdet or mmseg, or ours.
        images: Normalised images, (B, 3, H, W).

    Returns:
        (B, C_i, H / stride_i, W / stride_i) of each stage of ``out_indices``, finest first.
    """
    tokens, size = net.patch_embed(images)
    if net.use_abs_pos_embed:
        tokens = tokens + net.absolute_pos_embed
    tokens, maps = net.drop_after_pos(tokens), []
    for index, stage in enumerate(net.stages):
        tokens, size, out, out_size = stage(tokens, size)
        if index in net.out_indices:
            maps.append(out.unflatten(1, out_size).permute(0, 3, 1, 2).contiguous())
    return tuple(maps)
