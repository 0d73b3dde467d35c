"""Files as the released code wrote them, with drawn weights: key families of ``docs/methods/ark.md``,
"7 Released checkpoints" and ``docs/methods/foundation_x.md``, "7 Released checkpoints"."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.helpers.plain_swin import PlainSwin, randomise

TINY = {"dim": 24, "depths": (2, 2, 2, 2), "heads": (1, 2, 2, 4), "window": 2, "ratio": 2}
"""At 64 pixels the last stage's map is one window, as with a window of 7 at 224."""
SIZE = 64
WIDTH = TINY["dim"] * 8


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.3


def index(window: int) -> Tensor:
    """Row of the bias table for every pair of tokens, pair by pair."""
    cells = [(row, column) for row in range(window) for column in range(window)]
    reach = window - 1
    return torch.tensor([[(a - c + reach) * (2 * reach + 1) + b - d + reach for c, d in cells] for a, b in cells])


def swin(reference: PlainSwin, window: int = TINY["window"], size: int = SIZE, masks: bool = True) -> dict[str, Tensor]:
    """timm 0.5's state dict: with index buffers, and masks in shifted blocks of maps larger than the window."""
    tensors = dict(reference.state_dict())
    for i, stage in enumerate(reference.layers):
        side = size // 4 // 2**i
        for j in range(len(stage.blocks)):
            tensors[f"layers.{i}.blocks.{j}.attn.relative_position_index"] = index(window)
            if masks and j % 2 and side > window:
                tensors[f"layers.{i}.blocks.{j}.attn_mask"] = torch.zeros((side // window) ** 2, window**2, window**2)
    return tensors


def ark(outputs=(14, 14, 14, 3, 6, 1), projector: int | None = 10, hidden: bool = False, seed: int = 5):
    """(reference backbone, flat state dict) of Ark."""
    reference = randomise(PlainSwin(**TINY), seed)
    tensors = swin(reference)
    tensors |= {"head.weight": draw(1000, WIDTH), "head.bias": draw(1000)}
    names = ("projector.0", "projector.2") if hidden else ("projector",)
    taken = WIDTH
    for name in names if projector else ():
        tensors |= {f"{name}.weight": draw(projector, taken), f"{name}.bias": draw(projector)}
        taken = projector
    for k, outputs_k in enumerate(outputs):
        tensors |= {f"omni_heads.{k}.weight": draw(outputs_k, taken, seed=k)}
        tensors |= {f"omni_heads.{k}.bias": draw(outputs_k, seed=k)}
    return reference, tensors


def foundation_x(seed: int = 6):
    """(reference backbone, state dict) of Foundation X without detector and segmentation."""
    reference = randomise(PlainSwin(**TINY), seed)
    tensors = swin(reference, masks=False)
    for stage in range(4):
        tensors |= {f"Segnorm{stage}.weight": draw(24 * 2**stage), f"Segnorm{stage}.bias": draw(24 * 2**stage)}
        if stage:
            tensors |= {f"Locnorm{stage}.weight": draw(24 * 2**stage), f"Locnorm{stage}.bias": draw(24 * 2**stage)}
    tensors |= {"head.weight": draw(1, WIDTH), "head.bias": draw(1)}
    for k, outputs in enumerate((1, 1, 1, 3, 13, 1, 14, 14, 6, 1, 14)):
        tensors |= {f"classification_heads.{k}.weight": draw(outputs, WIDTH, seed=k)}
        tensors |= {f"classification_heads.{k}.bias": draw(outputs, seed=k)}
    tensors = {f"backbone.0.{name}": value for name, value in tensors.items()}
    return reference, tensors


def save(content, path: Path) -> Path:
    torch.save(content, path)
    return path
