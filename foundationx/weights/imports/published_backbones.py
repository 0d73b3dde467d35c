"""Published backbones other than Swin: their kind and measures are read from names and shapes of the weights.

A ResNet under torchvision's names, a ConvNeXt under its authors' or timm's, a ViT under timm's. The result is checked,
tensor by tensor, against the network that the configuration builds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from foundationx.core.errors import CheckpointError
from foundationx.models.backbone import build_net
from foundationx.weights.imports.weight_file import reason_for

VIT_HEAD_WIDTH = 64
"""Channels per attention head of every published ViT; no shape reveals the number of heads."""

Rules = tuple[tuple[str, str], ...]
"""Pairs of a pattern and its replacement or reason."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Kind and ``model.backbone`` configuration of a backbone, as ``SwinShape`` for a Swin.

    Attributes:
        kind: Name of the kind.
        backbone: ``model.backbone`` of a configuration.
    """

    kind: str
    backbone: Mapping[str, Any]

    def config(self) -> dict[str, Any]:
        """``model.backbone`` of a configuration."""
        return dict(self.backbone)

    @property
    def width(self) -> int:
        """Channels of the last stage of a ConvNeXt."""
        return int(self.backbone["dims"][-1])

    def describe(self) -> str:
        """The measures as text."""
        facts = (f"{name} {value}" for name, value in self.backbone.items() if name not in ("type", "out_indices"))
        return f"{self.kind}: {', '.join(facts)}"


@dataclass(slots=True)
class Network:
    """A backbone read from a file.

    Attributes:
        shape: Kind and configuration.
        tensors: Complete state dict under our names.
        loaded: Name in the file -> our name.
        skipped: Name in the file -> reason.
        initialised: Our name -> origin of the values, for tensors that the file lacks.
        image_size: Training image size in pixels, if the file records it.
    """

    shape: NetworkShape
    tensors: dict[str, Tensor]
    loaded: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    initialised: dict[str, str] = field(default_factory=dict)
    image_size: int | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Networks of one kind.

    Attributes:
        title: Name of the kind, for messages.
        sign: Pattern of a tensor name that no other kind has.
        skipped: Patterns of names to skip, with the reason.
        renamed: Rules from the published names to ours.
        measure: Function from tensors under our names to ``model.backbone``; KeyError if a tensor is missing.
        optional: Patterns of our names that a file may lack, with the reason.
    """

    title: str
    sign: str
    skipped: Rules
    renamed: Rules
    measure: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    optional: Rules


def family_of(names: Mapping[str, Tensor]) -> str | None:
    """The kind, a key of ``FAMILIES``, by the names of the tensors; None if there is none."""
    return next((kind for kind, family in FAMILIES.items() if any(re.match(family.sign, n) for n in names)), None)


def read_network(tensors: Mapping[str, Tensor], kind: str, where: str) -> Network:
    """Reads a backbone.

    Args:
        tensors: Tensors of the backbone and its classifier alone.
        kind: A key of ``FAMILIES``.
        where: File, for messages.

    Raises:
        CheckpointError: Measures that no such network has; missing or unexpected tensors, or tensors of another shape.
    """
    family = FAMILIES[kind]
    reasons = {name: reason_for(family.skipped, name) for name in tensors}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    loaded = {name: _renamed(name, family.renamed) for name in tensors if name not in skipped}
    ours = {here: tensors[name].clone() for name, here in loaded.items()}
    try:
        config = family.measure(ours)
    except KeyError as error:
        expected = f"the complete weights of a {family.title}"
        raise CheckpointError(where, f"has no tensor {error}", expected, "fetch the file again") from error
    except ValueError as error:
        raise CheckpointError(
            where, str(error), f"a published {family.title}", "other sizes are not supported"
        ) from error
    if kind == "convnext":
        ours, loaded = _last_norm(ours, loaded, len(config["dims"]) - 1)
    network = Network(NetworkShape(family.title, config), ours, loaded, skipped)
    _complete(network, family, where)
    if kind == "vit":
        network.image_size = config["img_size"][0]
    return network


def _complete(network: Network, family: Family, where: str) -> None:
    """Initialises tensors that a file may lack; refuses any other difference from the configured network."""
    own = build_net(network.shape.config()).state_dict()
    for name in own.keys() - network.tensors.keys():
        if reason := reason_for(family.optional, name):
            network.tensors[name] = (
                torch.ones_like(own[name]) if name.endswith("weight") else torch.zeros_like(own[name])
            )
            network.initialised[name] = reason
    origin = {here: name for name, here in network.loaded.items()}
    missing = sorted(own.keys() - network.tensors.keys())
    extra = sorted(origin[name] for name in network.tensors.keys() - own.keys())
    wrong = [
        f"{origin[name]} {tuple(value.shape)} (expected {tuple(own[name].shape)})"
        for name, value in network.tensors.items()
        if name in own and value.shape != own[name].shape
    ]
    parts = (("missing", missing), ("unexpected", extra), ("of another shape", wrong))
    found = "; ".join(f"{len(names)} {what}: {', '.join(names[:3])}" for what, names in parts if names)
    if found:
        expected = f"a complete {network.shape.describe()}"
        raise CheckpointError(where, found, expected, "the file is of another network, or was saved in part")


def _renamed(name: str, rules: Rules) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name, count=1)
    return name


def _stages(tensors: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Number of blocks of each stage; the pattern's group is the stage."""
    counts = Counter(int(match[1]) for name in tensors if (match := re.fullmatch(pattern, name)))
    return [counts[stage] for stage in sorted(counts)]


RESNET_DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
"""Depth of a ResNet (He et al. 2016, table 1) by whether its blocks are bottlenecks, and its blocks per stage."""


def _measure_resnet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = tuple(_stages(tensors, r"layer(\d+)\.\d+\.conv1\.weight"))
    deep = "layer1.0.conv3.weight" in tensors
    depth = RESNET_DEPTHS.get((deep, blocks))
    if depth is None:
        raise ValueError(f"stages of {blocks} {'bottleneck' if deep else 'basic'} blocks")
    width = tensors["conv1.weight"].shape[0]
    return {"type": "mmdet.ResNet", "depth": depth, "base_channels": width, "out_indices": [0, 1, 2, 3]}


def _measure_convnext(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    depths = _stages(tensors, r"stages\.(\d+)\.\d+\.dwconv\.weight")
    return {
        "type": "mmdet.ConvNeXt",
        "depths": depths,
        "dims": [tensors[f"stages.{i}.0.dwconv.weight"].shape[0] for i in range(len(depths))],
        "layer_scale": 1e-6 if "stages.0.0.gamma" in tensors else 0.0,
        "out_indices": list(range(len(depths))),
        "pooled_norm": True,
    }


def _last_norm(
    tensors: dict[str, Tensor], loaded: dict[str, str], last: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Renames ConvNeXt's only norm outside its stages to that of the last stage."""
    new = {name: re.sub(r"^norm\.", f"norm{last}.", name) for name in tensors}
    return {new[n]: value for n, value in tensors.items()}, {name: new[here] for name, here in loaded.items()}


def _measure_vit(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    (depth,) = _stages({f"0.{name}": value for name, value in tensors.items()}, r"(0)\.layers\.\d+\.ln1\.weight")
    width, _, patch, _ = tensors["patch_embed.projection.weight"].shape
    positions = tensors["pos_embed"].shape[1] - 1
    side = math.isqrt(positions)
    if side * side != positions or width % VIT_HEAD_WIDTH or depth < 3:
        raise ValueError(f"{positions} positions, {depth} blocks of {width} channels")
    return {
        "type": "mmseg.VisionTransformer",
        "img_size": [side * patch, side * patch],
        "patch_size": patch,
        "patch_bias": "patch_embed.projection.bias" in tensors,
        "embed_dims": width,
        "num_layers": depth,
        "num_heads": width // VIT_HEAD_WIDTH,
        "mlp_ratio": tensors["layers.0.ffn.layers.0.0.weight"].shape[0] // width,
        "norm_cfg": {"type": "LN", "eps": 1e-6},
        "final_norm": True,
        "interpolate_mode": "bicubic",
        "out_indices": sorted({depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)} - {-1}),
    }


_PLAIN_NORM = "norm of an inner stage, which the published model does not have: initialised as an identity norm"
_CLASSIFIER = ((r"(fc|head)\.(?!norm\.).*", "the classifier or projection head, unused"),)
FAMILIES = {
    "resnet": Family(
        "ResNet",
        r"layer1\.0\.conv1\.weight",
        _CLASSIFIER,
        (),
        _measure_resnet,
        ((r".*\.num_batches_tracked", "counter that early files lack"),),
    ),
    "convnext": Family(
        "ConvNeXt",
        r"stages\.0\.(blocks\.)?0\.(dwconv|conv_dw)\.weight",
        _CLASSIFIER,
        (
            (r"^stem\.", "downsample_layers.0."),
            (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
            (r"^stages\.(\d+)\.blocks\.", r"stages.\1."),
            (r"\.conv_dw\.", ".dwconv."),
            (r"\.mlp\.fc([12])\.", r".pwconv\1."),
            (r"^head\.norm\.", "norm."),
        ),
        _measure_convnext,
        ((r"norm\d+\.(weight|bias)", _PLAIN_NORM),),
    ),
    "vit": Family(
        "ViT",
        r"blocks\.0\.attn\.qkv\.weight",
        _CLASSIFIER,
        (
            (r"^patch_embed\.proj\.", "patch_embed.projection."),
            (r"^blocks\.", "layers."),
            (r"\.norm([12])\.", r".ln\1."),
            (r"\.attn\.qkv\.", ".attn.attn.in_proj_"),
            (r"\.attn\.proj\.", ".attn.attn.out_proj."),
            (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
            (r"\.mlp\.fc2\.", ".ffn.layers.1."),
            (r"^norm\.", "ln1."),
        ),
        _measure_vit,
        (),
    ),
}
