"""Tokens of any backbone, for self-supervision: the last stage, one token every 32 pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.geometry.views import CELL
from foundationx.tasks.self_supervision.objective import Tokens


class LastStage(nn.Module):
    """The trunk of self-supervision has nothing of its own: feature maps to the last one, of ``features`` channels."""

    def __init__(self, features: int):
        super().__init__()
        self.features = features

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, D, h, w)."""
        return features[-1]


def as_tokens(feature: Tensor, size: int) -> Tokens:
    """A map (B, D, h, w) of views of ``size`` pixels to tokens.

    A finer map (a plain ViT has a token every 16 pixels) is averaged over what one token of 32 pixels covers.
    """
    cells = size // CELL
    if feature.shape[-1] > cells:
        feature = F.avg_pool2d(feature, feature.shape[-1] // cells)
    return Tokens(feature.flatten(2).transpose(1, 2), (feature.shape[-2], feature.shape[-1]))


def encoder(trunk: Callable[[Tensor], Tensor], normalise: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tokens]:
    """What turns (B, 1, S, S) uint8 views into tokens.

    Args:
        trunk: (B, 3, S, S) normalised images to (B, D, h, w).
        normalise: bytes to normalised floats.
    """
    return lambda images: as_tokens(trunk(normalise(images)), images.shape[-1])
