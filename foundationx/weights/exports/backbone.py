"""The backbone as one safetensors file that describes itself, and its loading."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from foundationx import __version__
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.strict_json import to_exact_json
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.lora import plain_names, plain_state
from foundationx.weights.exports.formats import Format, Source
from foundationx.weights.safetensors_file import write_safetensors
from foundationx.weights.swin import NETWORKS, shift_rule


def describe(source: Source) -> dict[str, str]:
    """Metadata for the use of exported weights: the backbone, image size, normalisation, shift rule."""
    config, rule = source.config, shift_rule(source.model.backbone.net)
    return {
        "format": "pt",
        "foundationx": __version__,
        "run": config.name,
        "model": source.which,
        "backbone": to_exact_json(config.model.backbone),
        "image_size": str(config.image_size),
        "mean": to_exact_json(config.model.mean),
        "std": to_exact_json(config.model.std),
    } | ({"shift": rule} if rule else {})


def export_backbone(model: FoundationModel, config: RunConfig, which: str, path: Path) -> Path:
    """Writes the backbone's weights under the names that the mmdet or mmseg backbone itself has.

    The file's metadata are those of ``describe``.

    Args:
        model: Student or teacher.
        config: Run configuration.
        which: ``student`` or ``teacher``, recorded in the metadata.
        path: Output file.
    """
    tensors = {name: value.contiguous() for name, value in plain_state(model.backbone.net).items()}
    write_safetensors(tensors, path, metadata=describe(Source(model, config, which)))
    return path


def write_backbone(source: Source, path: Path) -> str:
    """``export_backbone`` as a format."""
    export_backbone(source.model, source.config, source.which, path)
    return f"model = dict(init={str(path)!r})  # in a configuration with the same model.backbone"


def load_backbone(net: nn.Module, path: Path) -> None:
    """Loads an exported backbone into a network of the same kind, strictly.

    Raises:
        CheckpointError: The file cannot be read, a name or shape differs, or the Swin shifts its windows by another
            rule than in training.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a dict)
            stored_rule = (stored.metadata() or {}).get("shift")
    except (OSError, SafetensorError) as error:
        fix = "check the path, or export or import it again"
        raise CheckpointError(str(path), f"cannot be read ({error})", "a safetensors file", fix) from error
    names, state = plain_names(net), net.state_dict()
    own = {name: state[stored] for name, stored in names.items()}
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape]
    if missing or extra or wrong:
        found = f"missing {missing[:3]}, unexpected {extra[:3]}, other shape {wrong[:3]}"
        raise CheckpointError(str(path), found, "the weights of the configured backbone", "check model.backbone")
    rule = shift_rule(net)
    if stored_rule and rule and stored_rule != rule:
        fix = NETWORKS.get(stored_rule, "mmdet.NAME")
        found = f"trained with windows shifted {stored_rule!r}, the network shifts {rule!r}"
        raise CheckpointError(str(path), found, "one rule (foundationx/models/swin.py)", f"model.backbone.type={fix!r}")
    net.load_state_dict(state | {names[name]: value for name, value in tensors.items()})


FORMAT = Format(write_backbone, "_backbone.safetensors", "model.init of another run")
