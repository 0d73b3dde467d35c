"""Per-class attention (GLoRI of CheXFound, Yang et al., 2025): global and local representations together.

Every class has a query that attends over the local features of the last stage; what it finds is put beside the pooled
feature of the whole image, and a linear layer of the class's own gives its logit. A small finding need not survive the
mean over all positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from foundationx.core.config.model import ModelConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Batch
from foundationx.tasks.base import HeadOptions
from foundationx.tasks.classification.head import ClassificationHead, ClassificationOptions
from foundationx.tasks.classification.trunk import ClassificationTrunk


@dataclass(slots=True)
class GlobalAndLocal:
    """The (projected) pooled feature ``memory`` (B, D), and the local features (B, N, C) of the last stage."""

    memory: Tensor
    local: Tensor


class _LocalTrunk(ClassificationTrunk):
    """The trunk of image labels, which also hands on the last stage."""

    def __init__(self, in_channels: Sequence[int], config: ModelConfig):
        super().__init__(in_channels, config.projector)
        self.local_features = in_channels[-1]

    def forward(self, features: Sequence[Tensor]) -> GlobalAndLocal:  # type: ignore[override]  # both features
        """Feature maps to the pooled and the local features."""
        return GlobalAndLocal(super().forward(features), features[-1].flatten(2).transpose(1, 2))


class GloriOptions(ClassificationOptions):
    """Options of the head: ``model.heads.classification.options``."""

    width: int = Field(256, ge=1, le=8192, description="width of queries, keys and values")
    attention_heads: int = Field(4, ge=1, le=256, description="attention heads; they have to divide the width")


class GloriHead(ClassificationHead):
    """One attention query and one linear layer per class.

    Args:
        num_features: D of the pooled feature.
        local_features: C of the local features.
        num_classes: K of the dataset's card.
        options: Widths and loss.
    """

    Options: ClassVar[type[HeadOptions]] = GloriOptions

    def __init__(self, num_features: int, local_features: int, num_classes: int, options: GloriOptions):
        super().__init__(num_features + options.width, num_classes, options)
        self.norm = nn.LayerNorm(local_features)
        self.to_width = nn.Linear(local_features, options.width)
        self.queries = nn.Parameter(torch.empty(num_classes, options.width))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.attention = nn.MultiheadAttention(options.width, options.attention_heads, batch_first=True)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> _LocalTrunk:
        """Pooling and projector, and the last stage beside it."""
        return _LocalTrunk(channels, config)

    @classmethod
    def build(cls, trunk: Any, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head on both features. Raises ConfigError if the attention heads do not divide the width."""
        _check(options)
        return cls(trunk.out_features, trunk.local_features, num_classes, options)

    def forward(self, feature: Any, trunk: ClassificationTrunk, batch: Batch | None = None) -> Tensor:
        """Global and local features to logits (B, K)."""
        local = self.to_width(self.norm(feature.local))
        queries = self.queries.to(local.dtype)[None].expand(len(local), -1, -1)
        found, _ = self.attention(queries, local, local, need_weights=False)
        whole = feature.memory[:, None].expand(-1, found.shape[1], -1)
        both = torch.cat([whole, found.to(whole.dtype)], dim=2)  # (B, K, D + width)
        return (both * self.classifier.weight).sum(dim=2) + self.classifier.bias


def _check(options: GloriOptions) -> None:
    if options.width % options.attention_heads:
        found = f"width is {options.width}, attention_heads {options.attention_heads}"
        where, expected = "model.heads.classification.options", "attention heads that divide the width"
        raise ConfigError(where, found, expected, "change one of them")
