"""What classification shares between datasets: pooling and, if configured, Ark's projector."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from foundationx.core.config.model import ProjectorConfig


class ClassificationTrunk(nn.Module):
    """Global average pooling of the last stage, then an optional projector.

    See ``docs/methods/ark.md``, "1.2 Projector and heads".

    Args:
        in_channels: channels of the backbone's stages.
        projector: its width and whether it has a hidden layer; None for the plain pooled feature (Foundation X).
    """

    stages = 1  # of the backbone, the last

    def __init__(self, in_channels: Sequence[int], projector: ProjectorConfig | None):
        super().__init__()
        channels = in_channels[-1]
        if projector is None:
            self.projector: nn.Module = nn.Identity()
            self.out_features = channels
            return
        layers: list[nn.Module] = [nn.Linear(channels, projector.features)]
        if projector.hidden:
            layers += [nn.ReLU(), nn.Linear(projector.features, projector.features)]
        self.projector = nn.Sequential(*layers)
        self.out_features = projector.features

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps to (B, D), the (projected) pooled feature."""
        return self.projector(features[-1].mean(dim=(2, 3)))
