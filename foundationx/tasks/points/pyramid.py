"""A feature pyramid as the trunk of a task: what all its UniHead heads sample points from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foundationx.core import openmmlab

FINEST_STRIDE = 4
"""Pixels of the image that a cell of the backbone's first stage covers."""

REGION_CELLS = 14
"""Regions up to twice this side, in cells of the finest level, are sampled there (56 pixels at stride 4)."""

UNIT_CELLS = 8
"""Coordinates of outlines and of named points are compared in units of so many cells of their level."""


@dataclass(slots=True)
class Pyramid:
    """Levels of one width, finest first, as one row of tokens.

    Attributes:
        memory: (B, N, C), N cells of all levels, row by row; student and teacher are compared here.
        spatial_shapes: Rows and columns of each level.
        stride: Pixels of the image that a cell of the finest level covers; each level doubles it.
    """

    memory: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]
    stride: int = FINEST_STRIDE

    @classmethod
    def of(cls, maps: Sequence[Tensor], stride: int = FINEST_STRIDE) -> Pyramid:
        """A pyramid of maps (B, C, h, w), finest first."""
        shapes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
        return cls(torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1), shapes, stride)

    def maps(self) -> list[Tensor]:
        """The levels (B, C, h, w)."""
        levels = self.memory.split([rows * columns for rows, columns in self.spatial_shapes], dim=1)
        pairs = zip(levels, self.spatial_shapes, strict=True)
        return [level.transpose(1, 2).unflatten(2, shape) for level, shape in pairs]

    def levels(self, count: int) -> Pyramid:
        """The ``count`` finest levels."""
        shapes = self.spatial_shapes[:count]
        return Pyramid(self.memory[:, : sum(rows * columns for rows, columns in shapes)], shapes, self.stride)

    def pixel(self) -> Tensor:
        """Width and height of a pixel as shares of the image, (2,)."""
        rows, columns = self.spatial_shapes[0]
        return self.memory.new_tensor([1 / columns, 1 / rows], dtype=torch.float32) / self.stride

    def sizes(self) -> Tensor:
        """Columns and rows of each level, (L, 2) single precision."""
        shapes = [(columns, rows) for rows, columns in self.spatial_shapes]
        return torch.tensor(shapes, dtype=torch.float32, device=self.memory.device)

    def whole(self) -> Tensor:
        """The whole image as a region, (B, 1, 4)."""
        corner = self.memory[:, :1, :2]
        return torch.cat([torch.zeros_like(corner), torch.ones_like(corner)], dim=2)

    def level_of(self, regions: Tensor) -> Tensor:
        """The level (...) int64 at which regions (..., 4) are sampled: the larger a region, the coarser its level."""
        rows, columns = self.spatial_shapes[0]
        width = (regions[..., 2] - regions[..., 0]).clamp(min=0) * columns
        height = (regions[..., 3] - regions[..., 1]).clamp(min=0) * rows
        level = ((width * height).sqrt() / REGION_CELLS + 1e-6).log2().floor()
        return level.clamp(0, len(self.spatial_shapes) - 1).long()


class PyramidTrunk(nn.Module):
    """mmdet's FPN over all stages of the backbone, and one level more.

    Args:
        in_channels: Channels of the backbone's stages, finest first.
        channels: Channels of every level.
        norm: Whether its convolutions are normalised (over groups of channels); the published pyramid is not. Student
            and teacher are compared at its output, whose scale would be free without.
        start: Stages of the backbone that are left out, the finest.
        extra: Levels beyond the backbone's.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, norm: bool = True, start: int = 0, extra: int = 1):
        super().__init__()
        self.stages = len(in_channels) - start  # of the backbone, the last
        self.stride = FINEST_STRIDE << start
        self.channels = channels
        norm_cfg = {"type": "GN", "num_groups": math.gcd(32, channels)}
        self.neck = openmmlab.build_mm(
            {
                "type": "mmdet.FPN",
                "in_channels": list(in_channels[start:]),
                "out_channels": channels,
                "num_outs": self.stages + extra,
                "norm_cfg": norm_cfg if norm else None,
            }
        )
        with openmmlab.initialising():
            self.neck.init_weights()

    def forward(self, features: Sequence[Tensor]) -> Pyramid:
        """Feature maps (B, C, h, w) of the backbone's stages to the pyramid."""
        return Pyramid.of(self.neck(tuple(features[-self.stages :])), self.stride)
