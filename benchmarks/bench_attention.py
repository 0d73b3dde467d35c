"""Attention: windows of Swin by torch's fused kernel against mmdet's, deformable attention against mmcv's PyTorch path.

Each pair gives equal numbers (checked to 1e-5) before it is timed.

    python benchmarks/bench_attention.py [--runs 7]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from measuring import heading, in_turns, options, peak_bytes, table, times
from torch import Tensor

from foundationx.models.swin import FusedWindowMSA
from foundationx.tasks.detection.deformable import deformable_attention

# isort: split
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmdet.models.backbones.swin import WindowMSA

STAGES = ((128, 4, 64), (256, 8, 16), (512, 16, 4), (1024, 32, 1))
"""Channels, heads and windows an image of Swin-B's stages at 224 pixels."""

WINDOW, IMAGES = 7, 2
LEVELS = {224: ((28, 28), (14, 14), (7, 7), (4, 4)), 448: ((56, 56), (28, 28), (14, 14), (7, 7))}
DECODED = 900
"""Queries of DINO's decoder."""

MEGABYTE = 2**20


def main() -> None:
    runs = options(__doc__).runs
    heading("Attention inside windows", f"Swin-B's stages at 224 pixels, {IMAGES} images, windows of {WINDOW}.")
    table(COLUMNS, [window_row(*stage, runs) for stage in STAGES])
    heading("Deformable attention", f"DINO's layers, 8 heads of 32, 4 levels, 4 points, {IMAGES} images.")
    table(COLUMNS, [deformable_row(*layer, runs) for layer in layers()])


COLUMNS = ("what", "times faster, training", "times faster, no gradient", "peak, MB", "reference, MB")


def window_row(channels: int, heads: int, windows: int, runs: int) -> list[str]:
    torch.manual_seed(0)
    plain = WindowMSA(channels, heads, (WINDOW, WINDOW))
    plain.init_weights()
    fused = FusedWindowMSA(plain)  # the same parameters
    tokens = torch.randn(IMAGES * windows, WINDOW**2, channels, requires_grad=True)
    mask = torch.where(torch.rand(windows, WINDOW**2, WINDOW**2) > 0.5, -100.0, 0.0)
    return row(f"{channels} channels, {heads} heads", lambda: fused(tokens, mask), lambda: plain(tokens, mask), runs)


def layers() -> list[tuple[str, tuple[tuple[int, int], ...], int]]:
    """Name, levels and queries: in the encoder every token asks."""
    rows = []
    for size, levels in LEVELS.items():
        tokens = sum(height * width for height, width in levels)
        rows.append((f"encoder at {size} pixels, {tokens} tokens", levels, tokens))
        rows.append((f"decoder at {size} pixels, {DECODED} queries", levels, DECODED))
    return rows


def deformable_row(name: str, levels: tuple[tuple[int, int], ...], queries: int, runs: int) -> list[str]:
    torch.manual_seed(0)
    count = sum(height * width for height, width in levels)
    value = torch.randn(IMAGES, count, 8, 32, requires_grad=True)
    places = torch.rand(IMAGES, queries, 8, len(levels), 4, 2, requires_grad=True)
    weights = torch.rand(IMAGES, queries, 8, len(levels), 4, requires_grad=True)
    shapes = torch.tensor(levels)
    return row(
        name,
        lambda: deformable_attention(value, levels, places, weights),
        lambda: multi_scale_deformable_attn_pytorch(value, shapes, places, weights),
        runs,
    )


def row(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor], runs: int) -> list[str]:
    torch.testing.assert_close(ours(), theirs(), atol=1e-5, rtol=1e-5)
    trained = in_turns({"ours": lambda: ours().sum().backward(), "theirs": lambda: theirs().sum().backward()}, runs)
    with torch.no_grad():
        looked = in_turns({"ours": ours, "theirs": theirs}, runs)
    peaks = [peak_bytes(lambda forward=forward: forward().sum().backward()) / MEGABYTE for forward in (ours, theirs)]
    ratios = [times(result["theirs"], result["ours"]) for result in (trained, looked)]
    return [name, *ratios, *(f"{megabytes:.1f}" for megabytes in peaks)]


if __name__ == "__main__":
    main()
