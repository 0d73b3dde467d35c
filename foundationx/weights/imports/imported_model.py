"""An imported backbone as what protocols judge: a model without heads, as if it were the checkpoint of a run."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from foundationx.core.config.load import parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError
from foundationx.engine.checkpoint import Checkpoint, load_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.imported import BACKBONE


def open_subject(path: Path, card: str) -> Checkpoint:
    """A checkpoint of a run, or one made of the folder (or ``backbone.safetensors``) that an import wrote.

    Args:
        path: checkpoint, work directory, folder of an import or its backbone.
        card: dataset to judge on: the configuration of an import names no other.

    Raises:
        CheckpointError: there is none, it is torn, or an import does not tell its image size.
    """
    stored = path / BACKBONE if path.is_dir() else path
    if stored.suffix != ".safetensors" or not stored.is_file():
        return load_checkpoint(path)
    config = _config(stored, card)
    model = FoundationModel(config.model, {})
    load_backbone(model.backbone.net, stored)
    weights = model.state_dict()
    return Checkpoint(config, {}, 0, 0, weights, weights, {}, {})


def _config(path: Path, card: str) -> RunConfig:
    """The configuration that the file's metadata tell, all else as it is by default."""
    try:
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata() or {}
        backbone, mean, std = (json.loads(facts[name]) for name in ("backbone", "mean", "std"))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        expected = "a backbone as `foundationx import` or `export --to backbone` writes it"
        raise CheckpointError(str(path), f"cannot be read ({type(error).__name__}: {error})", expected) from error
    if "image_size" not in facts:
        fix = "import it again with --image-size (224 for Adam)"
        raise CheckpointError(str(path), "does not tell its image size", "the size that images are brought to", fix)
    content = {
        "name": path.parent.name,
        "image_size": int(facts["image_size"]),
        "model": {"backbone": backbone, "mean": mean, "std": std},
        "datasets": [{"card": card}],
        "schedule": {"cycles": 1},
    }
    return parse_config(content, str(path))
