"""Foundation X and X+ at published size: names and shapes, from those of the small golden files."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

DEPTHS = (2, 2, 18, 2)
LAYERS, QUERIES, HIDDEN = 6, 900, 2048


def published_size(small: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Swin-B of X's form on the meta device: stages four times as wide, more blocks, layers and queries."""
    tensors: dict[str, Tensor] = {}
    for name, value in small.items():
        for new in _repeated(name):
            tensors[new] = torch.empty(_shape(name, tuple(value.shape)), dtype=value.dtype, device="meta")
    return tensors


def _repeated(name: str) -> list[str]:
    """The name, and those of the blocks and layers that the small file lacks."""
    if match := re.fullmatch(r"(backbone\.0\.layers\.2\.blocks\.)([01])(\..*)", name):
        return [f"{match[1]}{block}{match[3]}" for block in range(int(match[2]), DEPTHS[2], 2)]
    for pattern in (
        r"(transformer\.encoder\.layers\.)(\d+)(\..*)",
        r"(transformer\.decoder\.(?:\d\.)?layers\.)(\d+)(\..*)",
        r"(transformer\.decoder\.\d\.(?:bbox|class)_embed\.)(\d+)(\.(?!\d+\.layers|\d+\.weight|\d+\.bias).*)",
        r"(transformer\.decoder\.(?:bbox|class)_embed\.\d\.)(\d+)(\..*)",
        r"((?:bbox|class)_embed_?\.\d\.)(\d+)(\..*)",
    ):
        if match := re.fullmatch(pattern, name):
            first = match[2] == "0"
            return [f"{match[1]}{layer}{match[3]}" for layer in (range(LAYERS) if first else ())]
    return [name]


def _shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.startswith("backbone.0."):
        return _of_backbone(name, shape)
    if ".linear1." in name:
        return (HIDDEN, *shape[1:])
    if name.endswith("linear2.weight"):
        return (shape[0], HIDDEN)
    if ".tgt_embed." in name:
        return (QUERIES, *shape[1:])
    if re.fullmatch(r"input_proj\.\d\.0\.weight", name):
        return (shape[0], 4 * shape[1], *shape[2:])
    return shape


def _of_backbone(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.endswith(("relative_position_index", "num_batches_tracked")):
        return shape
    if name.endswith("relative_position_bias_table"):
        return shape[0], 4 * shape[1]
    if "heads." in name or ".0.head." in name:  # outputs, then channels
        return (shape[0], *(4 * size for size in shape[1:2]), *shape[2:])
    if name.endswith("patch_embed.proj.weight"):
        return (4 * shape[0], *shape[1:])
    return (*(4 * size for size in shape[:2]), *shape[2:])
