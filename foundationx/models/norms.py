"""Layer norm over the channels of maps."""

from __future__ import annotations

from torch import Tensor, nn

EPS = 1e-6
"""Of the layer norms of ConvNeXt, as in its authors' weights, and of what is built like it."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every position of a map (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
