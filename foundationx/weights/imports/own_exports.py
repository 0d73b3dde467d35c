"""Files that ``foundationx export`` wrote.

Their metadata hold what the weights do not show, so that an import gives the features of the export: network,
rule of shifting, image size, mean and deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError
from safetensors import safe_open
from torch import Tensor

from foundationx.core.config.backbones import known_backbone
from foundationx.core.config.model import Mean, Std
from foundationx.core.errors import CheckpointError
from foundationx.core.validation import validation_error
from foundationx.models.backbone import build_net
from foundationx.models.size_bound import at_most, limit_of
from foundationx.weights.imports.published_backbones import NetworkShape
from foundationx.weights.safetensors_file import is_safetensors
from foundationx.weights.swin import from_hugging_face, from_timm

KIND = "foundationx"
"""Kind of these files."""

STATED = "config.json"
"""File of Hugging Face's beside the weights."""

_NORM = "norm of an inner stage, which the format does not hold: initialised as an identity norm"
_INDEX = "computed from the window size"


class Facts(BaseModel):
    """Metadata of an exported file."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    foundationx: str = Field(description="version that wrote the file")
    backbone: Json[dict[str, Any]] = Field(description="`model.backbone` of the run")
    mean: Json[tuple[Mean, Mean, Mean]] = Field(description="mean of the normalisation")
    std: Json[tuple[Std, Std, Std]] = Field(description="deviation of the normalisation")
    image_size: int | None = Field(None, ge=1, le=4096, description="image size of the run, in pixels")


def facts_of(path: Path, content: Mapping[str, Any]) -> Facts | None:
    """The metadata of a file of this project; None for any other file.

    Args:
        path: The file.
        content: What it holds.

    Raises:
        CheckpointError: The metadata are incomplete or make no sense.
    """
    if is_safetensors(path):
        with safe_open(path, framework="pt") as stored:
            stated: Any = stored.metadata() or {}
    else:
        stated = content.get("meta")
    if not isinstance(stated, dict) or "foundationx" not in stated or "backbone" not in stated:
        return None
    try:
        return Facts.model_validate(stated)
    except ValidationError as error:
        raise validation_error(error, Facts, str(path), CheckpointError, "metadata") from None


def shape_of_transformers(facts: Facts, where: str) -> NetworkShape | None:
    """The network of a folder that holds one of transformers' own under the library's names; None for any other.

    Args:
        facts: Metadata of the file.
        where: The file, for messages; an export as ``backbone`` has no ``config.json`` beside it and is none.

    Raises:
        ConfigError: The network in the metadata is not a known one.
    """
    if not str(facts.backbone.get("type")).startswith("transformers.") or not Path(where).with_name(STATED).is_file():
        return None
    config = known_backbone(facts.backbone, f"{where}: backbone")
    return NetworkShape(config["type"], config)


def read_export(
    tensors: Mapping[str, Tensor], facts: Facts, where: str
) -> tuple[NetworkShape, dict[str, Tensor], dict[str, str], dict[str, str]]:
    """The backbone of an exported file.

    Args:
        tensors: Weights under the names of timm, Hugging Face, mmdet or mmseg.
        facts: Metadata of the file.
        where: The file, for messages.

    Returns:
        Network; tensors under our names; name in the file -> our name; our name -> origin, for what the format lacks.

    Raises:
        CheckpointError: The file needs no import, or its weights are not those of the network in its metadata.
        ConfigError: The network in the metadata is not a known one.
    """
    config = known_backbone(facts.backbone, f"{where}: backbone")
    ours, loaded = _under_our_names(tensors)
    with at_most(limit_of(ours), where):
        own = build_net(config).state_dict()
    initialised = {}
    for name in sorted(own.keys() - ours.keys()):
        if name.endswith("relative_position_index"):
            ours[name], initialised[name] = own[name], _INDEX
        elif name.startswith("norm"):
            ours[name] = torch.ones_like(own[name]) if name.endswith("weight") else torch.zeros_like(own[name])
            initialised[name] = _NORM
    missing, extra = sorted(own.keys() - ours.keys()), sorted(ours.keys() - own.keys())
    wrong = [name for name in own.keys() & ours.keys() if own[name].shape != ours[name].shape]
    if missing or extra or wrong:
        found = f"missing {missing[:3]}, unexpected {extra[:3]}, of another shape {wrong[:3]}"
        raise CheckpointError(where, found, f"the weights of {config['type']} as its metadata say", "export it again")
    if all(name == here for name, here in loaded.items()):
        found = "is an exported or imported backbone already"
        fix = f"model.init={where!r} in a configuration; predict and eval take the file itself"
        raise CheckpointError(where, found, "a file under names of another library", fix)
    return NetworkShape(config["type"], config), ours, loaded, initialised


def _under_our_names(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors under our names; name in the file -> our name."""
    if any(name.startswith("embeddings.") for name in tensors):
        return from_hugging_face(tensors)
    if any(name.startswith("layers.") for name in tensors) and "patch_embed.proj.weight" in tensors:
        ours = from_timm(dict(tensors))
        return ours, dict(zip(tensors, ours, strict=True))
    names = {name: name.removeprefix("backbone.") for name in tensors}
    return {here: tensors[name].clone() for name, here in names.items()}, names
