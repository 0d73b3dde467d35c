"""A backbone that is one of transformers' own networks, under the names and with the configuration of the library."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from foundationx.core.config.run import RunConfig
from foundationx.core.strict_json import read_json
from foundationx.models.backbone import build_net
from foundationx.models.lora import plain_state
from foundationx.models.plain_vit import PlainViT
from foundationx.models.transformers_nets import LIBRARY
from foundationx.weights.exports.formats import Source

POOLER = "pooler.dense."
"""Layer that ``AutoModel`` puts on ``ViTModel``: an identity here, so that ``pooler_output`` is the class token."""


def is_of_transformers(config: RunConfig) -> bool:
    """Whether the backbone is a network of transformers."""
    return str(config.model.backbone["type"]).startswith(f"{LIBRARY}.")


def network_of(source: Source, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and ``config.json`` as the library itself saves them; LoRA's sums are merged.

    Args:
        source: What is exported.
        folder: Folder in which the library may write for a moment; created if it does not exist.
    """
    from transformers.utils import logging

    with torch.random.fork_rng(devices=[]):
        net = build_net(dict(source.config.model.backbone))
    net.load_state_dict({name: value.cpu() for name, value in plain_state(source.model.backbone.net).items()})
    encoder: Any = net.get_submodule("encoder")
    if encoder.config.model_type == "vit":
        encoder.config.pooler_act, encoder.config.pooler_output_size = "linear", encoder.config.hidden_size
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as written:
            encoder.save_pretrained(written)
            tensors = load_file(Path(written) / "model.safetensors")
            config = read_json((Path(written) / "config.json").read_text(encoding="utf-8"))
    finally:
        if bars:
            logging.enable_progress_bar()
    if encoder.config.model_type == "vit":
        width = encoder.config.hidden_size
        tensors |= {f"{POOLER}weight": torch.eye(width), f"{POOLER}bias": torch.zeros(width)}
    return tensors, config


def network_size(net: nn.Module, image_size: int) -> int:
    """Side in pixels to which the backbone itself resizes images of ``image_size``, if patches do not divide it."""
    if not isinstance(net, PlainViT):
        return image_size
    return max(1, round(image_size / net.multiple)) * net.multiple


def lines(source: Source, path: Path) -> str:
    """Code that gives the pooled feature of the run."""
    net = source.model.backbone.net
    return f"""import numpy
import torch
from transformers import AutoImageProcessor, AutoModel
prepare = AutoImageProcessor.from_pretrained({str(path)!r}, trust_remote_code=True)  # resizes as in training
net = AutoModel.from_pretrained({str(path)!r}).eval()
image = numpy.zeros((480, 400), numpy.uint8)  # grey, of any size, bones bright
with torch.no_grad():
{_pooled(net)}"""


def _pooled(net: nn.Module) -> str:
    """The last lines, indented."""
    if not isinstance(net, PlainViT):
        return '    pooled = net(**prepare(image, return_tensors="pt")).pooler_output'
    options = "".join(f", {name}={value}" for name, value in getattr(net, "interpolate", {}).items())
    result = [f'    tokens = net(**prepare(image, return_tensors="pt"){options}).last_hidden_state']
    if hasattr(net.get_submodule("encoder"), "pre_layrnorm"):  # CLIP gives tokens before the last norm
        result.append("    tokens = net.post_layernorm(tokens)")
    kept = "[:, 0]  # the class token" if net.pooled == "class" else f"[:, {net.prefix}:].mean(1)  # over the patches"
    return "\n".join([*result, f"    pooled = tokens{kept}"])
