"""How much faster training is in bf16 on this machine, measured in a second."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

WORTH_IT = 1.2
"""Times faster from which bf16 is recommended."""

_IMAGES, _WIDTH, _RUNS = 4, 256, 5


def bf16_gain(device: torch.device, runs: int = _RUNS) -> float:
    """How many times faster a small step is in bf16 than in fp32: convolution, attention, layers; forward and backward.

    Both run in turns. On the CPU the processor's time counts, so that other programs do not matter.

    Args:
        device: CPU or CUDA device.
        runs: Timed steps of each.
    """
    embed = nn.Conv2d(3, _WIDTH, 16, 16).to(device)
    block = nn.TransformerEncoderLayer(_WIDTH, 8, 4 * _WIDTH, dropout=0.0, batch_first=True).to(device)
    images = torch.ones(_IMAGES, 3, 224, 224, device=device)

    def seconds(is_bf16: bool) -> float:
        start = _now(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            block(embed(images).flatten(2).transpose(1, 2)).float().square().mean().backward()
        return _now(device) - start

    pairs = [(seconds(False), seconds(True)) for _ in range(runs + 1)][1:]  # the first is not counted
    fp32, bf16 = (statistics.median(times) for times in zip(*pairs, strict=True))
    return fp32 / bf16


def _now(device: torch.device) -> float:
    """Seconds of the process on the CPU; elsewhere of the clock, when the device has done all it was asked to."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()
