"""Published backbones other than Swin: their kind and measures are read from names and shapes of the weights.

Their families are in ``vit_families.py`` and ``convolutional_families.py``. A ``config.json`` and a
``preprocessor_config.json`` beside the file (Hugging Face's) say what shapes do not show: attention heads, eps, mean
and deviation. The result is checked, tensor by tensor, against the network that the configuration builds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundationx.core.config.backbones import known_backbone
from foundationx.core.errors import CheckpointError
from foundationx.core.strict_json import read_json
from foundationx.models.backbone import build_net
from foundationx.models.size_bound import at_most, limit_of
from foundationx.weights.imports.convolutional_families import CONVNEXT, RESNET, SWINV2
from foundationx.weights.imports.family import IMAGENET, OUTSIDE, PREFIXES, Family, inside, names_of, renamed, split
from foundationx.weights.imports.vit_families import CLIP, DINOV2, DINOV3, EVA02, SIGLIP, VIT
from foundationx.weights.imports.weight_file import reason_for

FAMILIES: dict[str, Family] = {
    "resnet": RESNET,
    "convnext": CONVNEXT,
    "swinv2": SWINV2,
    "dinov3": DINOV3,
    "dinov2": DINOV2,
    "eva02": EVA02,
    "siglip": SIGLIP,
    "clip": CLIP,
    "vit": VIT,
}
"""Families by kind; the first whose signs occur is a file's."""


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
        mean: Mean of the pretraining's images, per channel in [0, 1].
        std: Standard deviation of the pretraining's images, per channel.
    """

    shape: NetworkShape
    tensors: dict[str, Tensor]
    loaded: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    initialised: dict[str, str] = field(default_factory=dict)
    image_size: int | None = None
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]


def family_of(names: Mapping[str, Tensor]) -> str | None:
    """The kind, a key of ``FAMILIES``, by the names of the tensors; None if there is none."""
    located = _located(names)
    return None if located is None else located[0]


def _located(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Kind, and prefix of its names in the file."""
    for prefix in PREFIXES:
        names = frozenset(inside(tensors, prefix))
        for kind, family in FAMILIES.items():
            if names and family.is_in(names):
                return kind, prefix
    return None


def read_network(tensors: Mapping[str, Tensor], kind: str, where: str) -> Network:
    """Reads a backbone.

    Args:
        tensors: Tensors of the backbone, and of what is known to stand beside one (``OUTSIDE``).
        kind: A key of ``FAMILIES``, as :func:`family_of` gives it.
        where: File, for messages; ``config.json`` beside it is read.

    Raises:
        CheckpointError: Measures that no such network has; missing or unexpected tensors, or tensors of another shape.
        ConfigError: ``config.json`` states what such a network does not have.
    """
    family, prefix = FAMILIES[kind], (_located(tensors) or (kind, ""))[1]
    plain, stated = inside(tensors, prefix), _beside(where, "config.json")
    skipped = _skipped(tensors, family, prefix, where)
    try:
        ours, loaded = _under_our_names(plain, family, inside(skipped, prefix))
        config = family.measure(ours, plain | inside(tensors, ""), stated.get("vision_config", stated))
    except KeyError as error:
        expected = f"the complete weights of a {family.title}"
        raise CheckpointError(where, f"has no tensor {error}", expected, "fetch the file again") from error
    except (ValueError, TypeError) as error:
        expected, fix = f"a published {family.title}", "other sizes are not supported"
        raise CheckpointError(where, f"{error}", expected, fix) from error
    config = known_backbone(config, where)
    mean, std = _normalisation(where, family)
    network = Network(NetworkShape(family.title, config), ours, mean=mean, std=std, skipped=skipped)
    network.loaded = {prefix + name: here for name, here in loaded.items()}
    _complete(network, family, where)
    size = None if kind == "dinov3" else config.get("image_size")  # DINOv3 has no size of its own
    network.image_size = size if size and size % 32 == 0 else None
    return network


def _under_our_names(
    tensors: Mapping[str, Tensor], family: Family, skipped: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors under our names; name in the file -> our name. Raises ValueError."""
    loaded = {name: renamed(name, family.renamed) for name in tensors if name not in skipped}
    ours: dict[str, Tensor] = {}
    for name, here in loaded.items():
        parts = split(here, tensors[name])
        if twice := ours.keys() & parts.keys():
            raise ValueError(f"{name} and another tensor both are {min(twice)}")
        ours |= parts
    family.finish(ours, loaded, tensors)
    return ours, loaded


def _skipped(tensors: Mapping[str, Tensor], family: Family, prefix: str, where: str) -> dict[str, str]:
    """Names in the file -> reason. Raises CheckpointError: a name outside the backbone that is not known."""
    skipped = {}
    for name in tensors:
        rules = family.skipped if name.startswith(prefix) else OUTSIDE
        if reason := reason_for(rules, name.removeprefix(prefix)):
            skipped[name] = reason
        elif not name.startswith(prefix):
            found = f"{name} beside the tensors of a {family.title} ({prefix}*)"
            raise CheckpointError(where, found, "one published model", "save the backbone alone")
    return skipped


def _beside(where: str, name: str) -> dict[str, Any]:
    """A JSON file of Hugging Face's beside a weight file; empty if there is none. Raises CheckpointError: damaged."""
    path = Path(where).with_name(name)
    if not Path(where).is_file() or not path.is_file():
        return {}
    try:
        content = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        expected, fix = "JSON as Hugging Face publishes it", "fetch it again, or move the weights elsewhere"
        raise CheckpointError(str(path), f"cannot be read ({error})", expected, fix) from error
    return content if isinstance(content, dict) else {}


def _normalisation(where: str, family: Family) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation as ``preprocessor_config.json`` says, else the family's."""
    stated = _beside(where, "preprocessor_config.json")
    values = [stated.get("image_mean"), stated.get("image_std")]
    lists = [tuple(map(float, value)) for value in values if isinstance(value, list) and len(value) == 3]
    return (lists[0], lists[1]) if len(lists) == 2 else family.normalisation


def _complete(network: Network, family: Family, where: str) -> None:
    """Initialises tensors that a file may lack; refuses any other difference from the configured network."""
    with torch.random.fork_rng(devices=[]), at_most(limit_of(network.tensors), where):
        torch.manual_seed(0)  # a file is imported to the same weights each time
        own = build_net(network.shape.config()).state_dict()
    for name in own.keys() - network.tensors.keys():
        if reason := reason_for(family.optional, name):
            network.tensors[name] = own[name]
            network.initialised[name] = reason
    origin = {part: name for name, here in network.loaded.items() for part in names_of(here)}
    missing = sorted(own.keys() - network.tensors.keys())
    extra = sorted({origin[name] for name in network.tensors.keys() - own.keys()})
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
