"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685) of a frozen backbone, by PyTorch's own parametrisations.

A weight W of an adapted layer is read as W + scale * up @ down; ``up`` begins as zeros, so that training begins at the
pretrained network. Whatever reads the weight gets the sum, fused kernels of the libraries included. W itself and all
else of the backbone stay as they are; only a feature pyramid, which no pretraining has, is trained as a whole.

``plain_state`` is the network as it is without adaptation, with the sums as weights: what is exported.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from foundationx.core.config.model import LoraConfig
from foundationx.core.errors import ConfigError

ATTENTION = re.compile(r"(^|\.)(attn|attention|self_attn|w_msa)(\.|$)")
"""Names of attention in all backbones."""

NOT_ADAPTED = re.compile(r"(^|\.)(pyramid|continuous_position_bias_mlp)(\.|$)")
"""Layers that are no projections of tokens: the pyramid is new, and positions are no tokens."""

_ORIGINAL = re.compile(r"\.?parametrizations\.(\w+)\.original$")
_ADDED = re.compile(r"\.?parametrizations\.\w+\.0\.(up|down)$")


class LowRank(nn.Module):
    """What is added to one weight.

    Args:
        weight: Weight of (rows, columns).
        config: Rank and scale.
    """

    def __init__(self, weight: Tensor, config: LoraConfig):
        super().__init__()
        rows, columns = weight.shape
        self.scale = config.alpha / config.rank
        self.down = nn.Parameter(torch.empty(config.rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, config.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight and what is learned: (rows, columns)."""
        return weight + self.scale * (self.up @ self.down)


def adapt(net: nn.Module, config: LoraConfig) -> tuple[str, ...]:
    """Adapts linear layers of a network in place.

    Args:
        net: Backbone.
        config: Which layers, rank and scale.

    Returns:
        Names of the parameters that stay as they are.

    Raises:
        ConfigError: The network has no such layer.
    """
    for name, module in [*net.named_modules()]:
        wanted = config.layers == "all" or ATTENTION.search(name)
        if not wanted or NOT_ADAPTED.search(name):
            continue
        weight = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        if isinstance(module, nn.Linear) or weight == "in_proj_weight":
            parametrize.register_parametrization(module, weight, LowRank(getattr(module, weight), config))
    if not any(_ADDED.search(name) for name, _ in net.named_parameters()):
        found, fix = (
            f"{type(net).__name__} has no layer of {config.layers}",
            "model.lora.layers='all', or no model.lora",
        )
        raise ConfigError("model.lora.layers", found, "layers to adapt", fix)
    names = [name for name, _ in net.named_parameters()]
    return tuple(name for name in names if not _ADDED.search(name) and not name.startswith("pyramid."))


def plain_name(name: str) -> str | None:
    """Name of a tensor in the network without adaptation; None for what adaptation adds."""
    return None if _ADDED.search(name) else _ORIGINAL.sub(lambda match: f".{match[1]}", name)


def plain_names(net: nn.Module) -> dict[str, str]:
    """Name of each tensor of the network without adaptation -> its name in ``net.state_dict()``."""
    return {plain: name for name in net.state_dict() if (plain := plain_name(name)) is not None}


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """State dict of the network without adaptation, with what was learned added to the weights."""
    own = net.state_dict()
    state = {}
    for name, stored in plain_names(net).items():
        state[name] = own[stored]
        if stored != name:
            module, _, weight = name.rpartition(".")
            state[name] = getattr(net.get_submodule(module), weight).detach()
    return state
