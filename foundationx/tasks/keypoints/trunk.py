"""What heads of points share between datasets: a feature pyramid, from all stages to one map of the finest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

NORM_GROUPS = 8
"""Most groups of the normalisation after the last convolution."""


class KeypointsTrunk(nn.Module):
    """Top-down sums of all stages at one width, then a convolution, a group normalisation and ReLU on the finest.

    See ``docs/methods/keypoints.md``.

    Args:
        in_channels: Channels of the backbone's stages, finest first.
        channels: Channels of the map.

    Attributes:
        out_channels: Channels of the map.
        stages: Stages of the backbone that it takes, all.
    """

    def __init__(self, in_channels: Sequence[int], channels: int):
        super().__init__()
        self.out_channels, self.stages = channels, len(in_channels)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(_groups(channels), channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps to (B, C, H / 4, W / 4) for a backbone whose first stage has stride 4."""
        maps = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        whole = maps[-1]
        for finer in maps[-2::-1]:
            whole = finer + F.interpolate(whole, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        return self.norm(self.smooth(whole)).relu()


def _groups(channels: int) -> int:
    """The most groups that divide the channels evenly."""
    return max(number for number in range(1, NORM_GROUPS + 1) if channels % number == 0)
