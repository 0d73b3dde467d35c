"""Segmentation head of one dataset: a 3x3 convolution, one independent mask per class.

See ``docs/methods/foundation_x.md``, "1.5 Segmentation".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import UNKNOWN_PIXEL, Task
from foundationx.tasks.base import Head, HeadOptions
from foundationx.tasks.classification.losses import masked_bce
from foundationx.tasks.segmentation.losses import soft_dice_loss
from foundationx.tasks.segmentation.prediction import SegmentationPrediction
from foundationx.tasks.segmentation.target import SegmentationBatch
from foundationx.tasks.segmentation.trunk import MaskTrunk, SegmentationTrunk


class SegmentationHead(Head[MaskTrunk, Tensor, Tensor, SegmentationBatch]):
    """Masks may overlap: every class has its own sigmoid.

    The published loss is soft Dice alone; per-pixel cross-entropy is added because Dice gives an empty target no
    useful gradient, and images known to be negative are to be learned from.

    Args:
        num_features: C of the trunk's output.
        num_classes: K of the dataset's card.
    """

    task = Task.SEGMENTATION

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(num_features, num_classes, kernel_size=3, padding=1)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> MaskTrunk:
        """PPM and FPN."""
        return SegmentationTrunk(channels, config.segmentation)

    @classmethod
    def build(cls, trunk: MaskTrunk, num_classes: int, config: ModelConfig, options: HeadOptions) -> Self:
        """A convolution on the trunk's map."""
        return cls(trunk.out_channels, num_classes)

    def forward(self, feature: Tensor, trunk: MaskTrunk, batch: SegmentationBatch | None = None) -> Tensor:
        """(B, C, h, w) to logits (B, K, h, w)."""
        return self.classifier(feature)

    def loss(self, outputs: Tensor, batch: SegmentationBatch) -> dict[str, Tensor]:
        """Soft Dice and binary cross-entropy over the known pixels, at the masks' size."""
        height, width = batch.masks.shape[-2:]
        logits = _resize(outputs, (height, width))
        target = batch.masks.to(logits.dtype).masked_fill(batch.masks == UNKNOWN_PIXEL, float("nan"))
        return {"dice": soft_dice_loss(logits.sigmoid(), target), "bce": masked_bce(logits, target, "pixels")}

    def counts(self, batch: SegmentationBatch) -> dict[str, int]:
        """Known pixels."""
        return {"pixels": int((batch.masks != UNKNOWN_PIXEL).sum())}

    def predict(self, outputs: Tensor, size: tuple[int, int]) -> SegmentationPrediction:
        """Mask probabilities (B, K, H, W) at the input's ``size``."""
        return SegmentationPrediction(masks=_resize(outputs.float(), size).sigmoid())


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
