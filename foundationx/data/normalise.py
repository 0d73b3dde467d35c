"""From grey bytes to the network's input, on the device: one normalisation for all tasks and datasets."""

from __future__ import annotations

import torch
from torch import Tensor

from foundationx.core.config.model import ModelConfig


class Normaliser:
    """(B, 1, H, W) uint8 to (B, 3, H, W) float: x / 255, three equal channels, minus mean, over standard deviation.

    Args:
        config: Holds ``mean`` and ``std`` of each of the three channels.
        device: Device of the images.
    """

    def __init__(self, config: ModelConfig, device: torch.device | str):
        mean = torch.tensor(config.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(config.std, device=device).view(1, 3, 1, 1)
        self.scale = 1.0 / (255.0 * std)
        self.shift = -mean / std

    def __call__(self, images: Tensor) -> Tensor:
        """Grey bytes to normalised floats; broadcasting makes the three channels."""
        return images.float() * self.scale + self.shift
