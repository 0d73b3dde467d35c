"""The folder that an import writes, and how a model starts from it.

backbone.safetensors   names and metadata of an exported backbone: ``model.init`` of a run
heads.safetensors      ``projector.*`` and ``heads.DATASET.{weight,bias}``; class names in the metadata
import.json            what was taken, dropped and added, tensor by tensor, and why
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from foundationx import __version__
from foundationx.core.errors import CheckpointError, nearest
from foundationx.core.types import Task, TaskKey
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.imports.released import Released
from foundationx.weights.imports.swin_shape import SwinShape

BACKBONE, HEADS, TABLE = "backbone.safetensors", "heads.safetensors", "import.json"


def write_imported(released: Released, source: Path, folder: Path) -> list[Path]:
    """Writes the folder; ``heads.safetensors`` only where there is a projector or a head.

    Args:
        released: what was read.
        source: the file it was read from; its name is noted.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "foundationx": __version__,
        "source": source.name,
        "kind": released.kind,
        "entry": released.entry,
        "backbone": json.dumps(released.shape.config()),
        "mean": json.dumps(released.mean),
        "std": json.dumps(released.std),
    }
    if released.image_size:
        facts["image_size"] = str(released.image_size)
    if isinstance(released.shape, SwinShape):
        facts["shift"] = "published"
    save_file(
        {name: value.contiguous() for name, value in released.backbone.items()},
        folder / BACKBONE,
        metadata={"format": "pt"} | facts,
    )
    written = [folder / BACKBONE]
    heads = [{"name": h.name, "classes": list(h.classes), "exclusive": h.exclusive} for h in released.heads]
    if released.heads or released.projector:
        tensors = {f"projector.{name}": value.contiguous() for name, value in released.projector.items()}
        for head in released.heads:
            tensors |= {f"heads.{head.name}.weight": head.weight.contiguous()}
            tensors |= {f"heads.{head.name}.bias": head.bias.contiguous()}
        save_file(tensors, folder / HEADS, metadata={"format": "pt", "heads": json.dumps(heads)} | facts)
        written.append(folder / HEADS)
    lines = [{"name": name, "fate": "taken", "as": here} for name, here in released.taken.items()]
    lines += [{"name": name, "fate": "dropped", "reason": reason} for name, reason in released.dropped.items()]
    lines += [{"name": name, "fate": "added", "reason": reason} for name, reason in released.added.items()]
    decoded = {key: json.loads(value) if key in ("backbone", "mean", "std") else value for key, value in facts.items()}
    text = json.dumps(decoded | {"heads": heads, "tensors": lines}, indent=1) + "\n"
    (folder / TABLE).write_text(text, encoding="utf-8")
    return [*written, folder / TABLE]


def read_heads(path: Path) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Reads ``heads.safetensors`` of an import.

    Args:
        path: The file.

    Returns:
        Its tensors, the class names of each head, and the names of the heads whose classes exclude each other.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a dict)
            described = json.loads((stored.metadata() or {})["heads"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        expected = f"{HEADS} as `foundationx import` writes it"
        raise CheckpointError(str(path), f"cannot be read ({type(error).__name__}: {error})", expected) from error
    classes = {head["name"]: tuple(head["classes"]) for head in described}
    return tensors, classes, tuple(head["name"] for head in described if head["exclusive"])


def projector_of(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """``model.projector`` of a configuration that fits the tensors of ``heads.safetensors``; None: there is none."""
    if "projector.0.weight" not in tensors:
        return None
    return {"features": tensors["projector.0.weight"].shape[0], "hidden": "projector.2.weight" in tensors}


def load_heads(model: FoundationModel, path: Path, heads: Mapping[str, str]) -> None:
    """Loads the projector and classification heads into a model.

    Args:
        model: whose heads have classes of the same names in the same order.
        path: ``heads.safetensors`` of an import.
        heads: ``dataset/classification`` of the model -> name of the imported head.

    Raises:
        CheckpointError: the file cannot be read; a head is not in it or not in the model; class names differ or stand
            in another order; the projector is another.
    """
    tensors, classes, _ = read_heads(path)
    keys = {_fitting(model, key, name, classes, path): name for key, name in heads.items()}
    projector = {n.removeprefix("projector."): value for n, value in tensors.items() if n.startswith("projector.")}
    trunk = model.trunks[Task.CLASSIFICATION.value]
    _load(trunk.projector, projector, f"{path}: projector", _projector_config(projector))
    for key, name in keys.items():
        parts = {kind: tensors[f"heads.{name}.{kind}"] for kind in ("weight", "bias")}
        _load(model.head(key).classifier, parts, f"{path}: head {name}", "model.backbone is another")


def _fitting(
    model: FoundationModel, text: str, name: str, classes: Mapping[str, tuple[str, ...]], path: Path
) -> TaskKey:
    """The key of the model's head that the imported head ``name`` fits. Raises CheckpointError where it does not."""
    if name not in classes:
        raise CheckpointError(str(path), f"has no head {name!r}", nearest(name, classes))
    key = next((key for key in model.classes if str(key) == text), None)
    if key is None or key.task is not Task.CLASSIFICATION:
        known = [str(key) for key in model.classes if key.task is Task.CLASSIFICATION]
        raise CheckpointError(str(path), f"the model has no classification head {text!r}", nearest(text, known))
    check_classes(classes[name], model.classes[key], f"{path}: head {name} for {key}")
    return key


def check_classes(stored: tuple[str, ...], wanted: tuple[str, ...], where: str) -> None:
    """Refuses other class names, and the same names in another order. Raises CheckpointError."""
    if stored == wanted:
        return
    if sorted(stored) == sorted(wanted):
        place = next(i for i, (one, other) in enumerate(zip(stored, wanted, strict=True)) if one != other)
        found = f"the same classes in another order: output {place} is {stored[place]!r}, the card's {wanted[place]!r}"
        raise CheckpointError(where, found, ", ".join(stored), "list the card's classes in the head's order")
    missing, extra = [n for n in stored if n not in wanted], [n for n in wanted if n not in stored]
    found = f"the card lacks {', '.join(missing) or 'nothing'} and has {', '.join(extra) or 'nothing'} besides"
    raise CheckpointError(where, found, ", ".join(stored), "take a card with these classes, or leave the head out")


def _load(module: nn.Module, tensors: Mapping[str, Tensor], where: str, fix: str) -> None:
    """Strict loading of a small module."""
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if own != given:
        raise CheckpointError(where, f"holds {given or 'nothing'}", f"{own or 'nothing'}", fix)
    with torch.no_grad():
        module.load_state_dict(dict(tensors))


def _projector_config(projector: Mapping[str, Tensor]) -> str:
    """``model.projector`` for an imported projector."""
    section = projector_of({f"projector.{name}": value for name, value in projector.items()})
    if section is None:
        return "set model.projector=None"
    return f"set model.projector=dict(features={section['features']}, hidden={section['hidden']})"
