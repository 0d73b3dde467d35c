"""What segmentation shares between datasets: UPerNet's pyramid pooling and feature pyramid, of mmseg's blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from foundationx.core import openmmlab
from foundationx.core.config.model import SegmentationConfig


class MaskTrunk(nn.Module):
    """What a segmentation head asks of its trunk.

    Attributes:
        out_channels: Channels of its map.
        stages: Stages of the backbone that it takes, the last ones.
    """

    out_channels: int
    stages: int


class SegmentationTrunk(MaskTrunk):
    """PPM + FPN: all stages to one map at the finest stage's stride.

    See ``docs/methods/foundation_x.md``, "1.5 Segmentation". Built from mmseg's ``UPerHead`` without its classifier. It
    has one smoothing convolution per level, as UPerNet has them (the released Foundation X shares one by a slip of list
    multiplication).
    """

    def __init__(self, in_channels: Sequence[int], config: SegmentationConfig):
        super().__init__()
        self.out_channels = config.channels
        self.stages = len(in_channels)  # of the backbone, all
        self.fusion = openmmlab.build_mm(
            {
                "type": "mmseg.UPerHead",
                "in_channels": list(in_channels),
                "in_index": list(range(len(in_channels))),
                "pool_scales": config.pool_scales,
                "channels": config.channels,
                "dropout_ratio": 0.0,
                "num_classes": 2,  # mmseg wants a classifier; it is removed below, heads have their own
                "norm_cfg": {"type": "BN"},
                "align_corners": False,
            }
        )
        del self.fusion.conv_seg
        self.dropout = nn.Dropout2d(config.dropout)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps to (B, C, H / 4, W / 4) for a backbone whose first stage has stride 4."""
        return self.dropout(self.fusion._forward_feature(list(features)))
