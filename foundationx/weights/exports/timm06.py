"""The backbone for timm to 0.6 and code with its names: Ark, Foundation X, the Swin authors' own code."""

from __future__ import annotations

from foundationx.weights.exports.formats import Format
from foundationx.weights.exports.timm import write_timm06

FORMAT = Format(write_timm06, "_timm06.safetensors", "timm to 0.6, Ark, Foundation X, microsoft's Swin")
