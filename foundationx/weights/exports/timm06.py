"""The backbone for timm to 0.6 and code with its names: Ark, Foundation X, the Swin authors' own code."""

from __future__ import annotations

from functools import partial

from foundationx.weights.exports.formats import Format
from foundationx.weights.exports.timm import write_timm

FORMAT = Format(
    partial(write_timm, merge_first=False), "_timm06.safetensors", "timm to 0.6, Ark, Foundation X, microsoft's Swin"
)
