"""The shared backbone: one of mmdet, mmseg, transformers or our own, its output channels found by asking it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from foundationx.core import openmmlab
from foundationx.core.config.model import LoraConfig
from foundationx.core.errors import ConfigError
from foundationx.models import transformers_nets
from foundationx.models.lora import adapt


def build_net(config: dict[str, Any]) -> nn.Module:
    """The bare network of a configuration of a backbone. Raises ConfigError: unknown type or wrong arguments."""
    if str(config.get("type")).startswith("transformers."):
        return transformers_nets.build(config)
    if str(config.get("type")).startswith("mmdet."):
        _register_own()
    net: nn.Module = openmmlab.build_mm(config)
    return net


@cache
def backbone_classes() -> dict[str, type[Any]]:
    """What has the arguments of each backbone that a configuration can name, by its ``type``.

    The network's class for those of mmdet and mmseg and our own, the description of the arguments for those of
    transformers (``core/config/backbones.py``).
    """
    _register_own()
    classes: dict[str, type[Any]] = dict(transformers_nets.NETWORKS)
    for library in ("mmdet", "mmseg"):
        own = ("foundationx.models.", f"{library}.models.backbones.")
        for name, kind in openmmlab.modules_of(library).items():
            if kind.__module__.startswith(own):
                classes[f"{library}.{name}"] = kind
    return classes


def _register_own() -> None:
    """Registers this package's backbones with mmdet."""
    for own in ("swin", "convnext", "eva02"):  # each registers itself
        importlib.import_module(f"foundationx.models.{own}")


def _initialise(initialise: Callable[[], None], config: dict[str, Any]) -> None:
    """Random weights, or those of ``init_cfg``. Raises ConfigError: those cannot be loaded."""
    try:
        with openmmlab.initialising():
            initialise()
    except Exception as error:  # mmdet's networks ask neither whether the file exists nor what is in it
        if not config.get("init_cfg") and not config.get("pretrained"):
            raise
        found, fix = f"{type(error).__name__}: {error}", "check the file, its names (`backbone.` first) and its origin"
        raise ConfigError("model.backbone.init_cfg", found, "weights of this backbone", fix) from error


class Backbone(nn.Module):
    """Wraps a registered backbone so that everything above it knows channels and strides.

    Args:
        config: ``type`` (``mmdet.SwinTransformer``, ``transformers.Dinov2Model`` ...) and its arguments;
            ``out_indices``, if it has them, must ask for all stages.
        lora: Low-rank adaptation; None for none.

    Attributes:
        channels: output channels of each stage, finest first.
        strides: input pixels a feature of each stage covers.
        frozen: names of the parameters that are never trained: those that low-rank adaptation adds to.

    Raises:
        ConfigError: the type is unknown or its arguments are wrong.
    """

    PROBE_SIZE = 64

    def __init__(self, config: dict[str, Any], lora: LoraConfig | None = None):
        super().__init__()
        self.net = build_net(config)
        initialise = getattr(self.net, "init_weights", None)
        if initialise is not None:
            _initialise(initialise, config)
        self.frozen = () if lora is None else tuple(f"net.{name}" for name in adapt(self.net, lora))
        self.channels, self.strides = self._probe(config)

    @property
    def has_raw_stages(self) -> bool:
        """Whether stages can be given before their norms: those of a Swin."""
        return isinstance(self.net, openmmlab.SwinTransformer)

    def _probe(self, config: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and strides, read off the output for a small black image."""
        training = self.net.training
        self.net.eval()
        with torch.no_grad():
            features = self.net(torch.zeros(1, 3, self.PROBE_SIZE, self.PROBE_SIZE))
        self.net.train(training)
        if not isinstance(features, list | tuple) or len(features) < 3:
            found = f"{len(features)} stage(s)" if isinstance(features, list | tuple) else type(features).__name__
            fix = "set out_indices=(0, 1, 2, 3)"
            raise ConfigError("model.backbone", f"{config['type']} gives {found}", "at least the last three", fix)
        channels = tuple(feature.shape[1] for feature in features)
        strides = tuple(self.PROBE_SIZE // feature.shape[-1] for feature in features)
        return channels, strides

    def forward(self, images: Tensor, stages: int | None = None, raw: bool = False) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised images to feature maps (B, C_i, H / stride_i, W / stride_i), finest first.

        Args:
            images: Normalised images.
            stages: Number of maps, the last ones; None for all.
            raw: Whether stages are given before their norms (``has_raw_stages``).
        """
        if raw:
            return importlib.import_module("foundationx.models.swin").raw_stages(self.net, images)
        features = tuple(self.net(images))
        return features if stages is None else features[-stages:]
