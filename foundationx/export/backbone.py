"""Takes the pretrained backbone elsewhere: one safetensors file that says what is in it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from foundationx import __version__
from foundationx.config import RunConfig
from foundationx.errors import CheckpointError
from foundationx.model import FoundationModel


def export_backbone(model: FoundationModel, config: RunConfig, which: str, path: Path) -> Path:
    """Writes the backbone's weights under the names that the mmdet or mmseg backbone itself has.

    The file's metadata holds the backbone's configuration, the image size and the normalisation: what is needed to
    use it.

    Args:
        model: student or teacher.
        config: of the run.
        which: ``student`` or ``teacher``, noted in the metadata.
        path: where to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": "pt",
        "foundationx": __version__,
        "run": config.name,
        "model": which,
        "backbone": json.dumps(config.model.backbone),
        "image_size": str(config.image_size),
        "mean": json.dumps(config.model.mean),
        "std": json.dumps(config.model.std),
    }
    tensors = {name: value.contiguous() for name, value in model.backbone.net.state_dict().items()}
    save_file(tensors, path, metadata=metadata)
    return path


def load_backbone(net: nn.Module, path: Path) -> None:
    """Loads an exported backbone into a network of the same kind, strictly.

    Raises:
        CheckpointError: the file cannot be read, or a name or shape does not fit.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(path), f"cannot be read ({error})", "a safetensors file") from error
    own = net.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape]
    if missing or extra or wrong:
        found = f"missing {missing[:3]}, unexpected {extra[:3]}, other shape {wrong[:3]}"
        raise CheckpointError(str(path), found, "the weights of the configured backbone", "check model.backbone")
    net.load_state_dict(tensors)
