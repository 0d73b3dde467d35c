"""Swin as published: windows are not shifted where one window covers the whole map.

mmdet's Swin shifts the windows of every second block of every stage. The published one, timm's, Hugging Face's and all
released Ark and Foundation X weights leave the shift out where the map is no larger than the window (stage 4 of a
window of 7 at 224 pixels, of 12 at 384). The weights have equal names and shapes, so that nothing but the features
would tell. On maps that are larger than the window in every stage the two are the same.

Importing this file registers ``mmdet.PublishedSwin``.
"""

from __future__ import annotations

from typing import Any

from foundationx import compat  # noqa: F401  (first: makes mm* importable)

# isort: split
import torch.nn.functional as F
from mmdet.models.backbones.swin import ShiftWindowMSA, SwinTransformer
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor


class PublishedWindowAttention(ShiftWindowMSA):
    """mmdet's shifted-window attention that does not shift where the shorter side of the map fits into one window.

    Args:
        shifted: the attention whose layers (and names) it takes over.
    """

    def __init__(self, shifted: ShiftWindowMSA):
        BaseModule.__init__(self)
        self.window_size, self.shift_size = shifted.window_size, shifted.shift_size
        self.w_msa, self.drop = shifted.w_msa, shifted.drop

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """(B, H * W, C) tokens of a map of ``hw_shape`` (H, W) to the same shape."""
        if min(hw_shape) > self.window_size:
            return super().forward(query, hw_shape)
        (height, width), window = hw_shape, self.window_size
        pad_right, pad_bottom = -width % window, -height % window
        maps = F.pad(query.unflatten(1, (height, width)), (0, 0, 0, pad_right, 0, pad_bottom))
        windows = self.window_partition(maps)
        windows = self.w_msa(windows.flatten(1, 2), mask=None).unflatten(1, (window, window))
        maps = self.window_reverse(windows, height + pad_bottom, width + pad_right)
        return self.drop(maps[:, :height, :width].flatten(1, 2))


@MODELS.register_module()
class PublishedSwin(SwinTransformer):
    """mmdet's ``SwinTransformer`` (same arguments, same names of weights) with the published rule of shifting."""

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        for stage in self.stages:
            for block in stage.blocks:
                if block.attn.shift_size > 0:
                    block.attn = PublishedWindowAttention(block.attn)
