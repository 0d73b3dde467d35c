"""An imported backbone as what protocols judge: a model without heads, as if it were the checkpoint of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from foundationx.core.config.load import parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError
from foundationx.core.types import Task, TaskKey
from foundationx.engine.checkpoint import Checkpoint, load_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.imported import BACKBONE, HEADS, load_heads, projector_of, read_heads


def open_subject(path: Path, card: str) -> Checkpoint:
    """A checkpoint of a run, or one made of the folder (or ``backbone.safetensors``) that an import wrote.

    Args:
        path: Checkpoint, work directory, folder of an import or its backbone.
        card: Dataset to evaluate on; the configuration of an import names no other.

    Raises:
        CheckpointError: There is none, it is torn, or an import does not record its image size.
    """
    stored = _imported_backbone(path)
    if stored is None:
        return load_checkpoint(path)
    config = _config(stored, (card,))
    return _as_checkpoint(FoundationModel(config.model, {}), config, stored)


def open_with_heads(path: Path) -> Checkpoint:
    """As :func:`open_subject`, together with the classification heads of an import.

    Args:
        path: Checkpoint, work directory, folder of an import, or a file written by ``export --to backbone``.

    Raises:
        CheckpointError: There is none, it is torn, or an import does not record its image size.
    """
    stored = _imported_backbone(path)
    if stored is None:
        return load_checkpoint(path)
    heads = stored.with_name(HEADS)
    if stored.name != BACKBONE or not heads.is_file():
        config = _config(stored, (stored.stem,))
        return _as_checkpoint(FoundationModel(config.model, {}), config, stored)
    tensors, named, exclusive = read_heads(heads)
    classes = {TaskKey(name, Task.CLASSIFICATION): names for name, names in named.items()}
    softmax = [str(TaskKey(name, Task.CLASSIFICATION)) for name in exclusive]
    config = _config(stored, tuple(named) or (stored.stem,), projector=projector_of(tensors), softmax=softmax)
    model = FoundationModel(config.model, classes)
    if classes:
        load_heads(model, heads, {str(key): key.dataset for key in classes})
    return _as_checkpoint(model, config, stored)


def _imported_backbone(path: Path) -> Path | None:
    """The safetensors file of an import or export; None for anything else, which a checkpoint has to be."""
    stored = path / BACKBONE if path.is_dir() else path
    return stored if stored.suffix == ".safetensors" and stored.is_file() else None


def _as_checkpoint(model: FoundationModel, config: RunConfig, stored: Path) -> Checkpoint:
    load_backbone(model.backbone.net, stored)
    weights = model.state_dict()
    return Checkpoint(config, model.classes, 0, 0, weights, weights, {}, {})


def _config(path: Path, cards: tuple[str, ...], **model: Any) -> RunConfig:
    """The configuration that the file's metadata describe; everything else has its default."""
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
        "model": {"backbone": backbone, "mean": mean, "std": std} | model,
        "datasets": [{"card": card} for card in cards],
        "schedule": {"cycles": 1},
    }
    return parse_config(content, str(path))
