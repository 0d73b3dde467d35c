"""The expected position under a heat map per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from landmarks.task import LandmarksBatch, LandmarksPrediction
from torch import Tensor, nn

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task
from foundationx.tasks.base import Head


class LandmarksTrunk(nn.Module):
    """A convolution on the backbone's finest stage."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.stages = len(channels)
        self.project = nn.Conv2d(channels[0], 16, kernel_size=3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.project(features[-self.stages]).relu()


class LandmarksHead(Head):
    """A heat map per class; its expected position is the point."""

    task = Task("landmarks")

    def __init__(self, num_classes: int):
        super().__init__()
        self.heat = nn.Conv2d(16, num_classes, kernel_size=1)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> LandmarksTrunk:
        return LandmarksTrunk(channels)

    @classmethod
    def build(cls, trunk: Any, num_classes: int, config: ModelConfig, options: Any) -> LandmarksHead:
        return cls(num_classes)

    def forward(self, feature: Tensor, trunk: nn.Module, batch: LandmarksBatch | None = None) -> Tensor:
        heat = self.heat(feature)
        share = heat.flatten(2).softmax(dim=2).view_as(heat)
        height, width = heat.shape[-2:]
        x = (torch.arange(width, device=heat.device) + 0.5) / width
        y = (torch.arange(height, device=heat.device) + 0.5) / height
        return torch.stack([(share.sum(dim=2) * x).sum(-1), (share.sum(dim=3) * y).sum(-1)], dim=-1)

    def loss(self, points: Tensor, batch: LandmarksBatch) -> dict[str, Tensor]:
        known = batch.points.isfinite()
        off = (points - batch.points.nan_to_num(0.0)).abs() * known
        return {"distance": off.sum() / known.sum().clamp(min=1)}

    def predict(self, points: Tensor, size: tuple[int, int]) -> LandmarksPrediction:
        return LandmarksPrediction(points)
