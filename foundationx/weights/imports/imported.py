"""The folder that an import writes, and models that start from it.

backbone.safetensors   as an exported backbone: ``model.init`` of a run
heads.safetensors      ``projector.*`` and ``heads.DATASET.{weight,bias}``; class names in the metadata
import.json            every tensor with its status (loaded, skipped, initialised) and the reason
checkpoints            the whole model with all its heads, as a run of no steps
config.json            its configuration
config.py              a configuration that starts from it
"""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from foundationx import __version__
from foundationx.core.atomic_write import write_atomically, write_json
from foundationx.core.config.load import parse_config
from foundationx.core.config.model import Section
from foundationx.core.config.others import as_data
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, nearest
from foundationx.core.strict_json import read_json, to_exact_json
from foundationx.core.types import TaskKey
from foundationx.core.validation import validation_error
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import Checkpoint, checkpoints_in, load_checkpoint, save_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import head_slug
from foundationx.models.size_bound import SLACK, at_most, limit_of
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.released import LABELS, Released, read_released
from foundationx.weights.safetensors_file import is_safetensors, write_safetensors
from foundationx.weights.swin import rule_of


class _Head(Section):
    """A head as the metadata of ``heads.safetensors`` describe it."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="name of the head, as a card is named")
    classes: tuple[str, ...] = Field(min_length=1, description="class names, in the order of the outputs")
    exclusive: bool = Field(description="whether the classes exclude each other")


_HEADS = TypeAdapter(list[_Head])

BACKBONE, HEADS, TABLE = "backbone.safetensors", "heads.safetensors", "import.json"

RELEASED = (".pth", ".tar", ".bin", ".ckpt")
"""Suffixes of released files; our own checkpoints have ``.pt``."""


def write_imported(released: Released, source: Path, folder: Path) -> list[Path]:
    """Writes the folder; ``heads.safetensors`` only if there is a projector or a head, a run only if :func:`is_run`.

    Args:
        released: Content of the released file.
        source: The released file; its name is recorded.
        folder: Output folder.

    Raises:
        CheckpointError: The folder holds a run that was trained, or tensors of a head are missing.
    """
    if WorkDir(folder).log.exists():
        fix = "name another folder"
        raise CheckpointError(str(folder), "holds a run that was trained", "a folder of its own for the import", fix)
    facts = {
        "foundationx": __version__,
        "source": source.name,
        "kind": released.kind,
        "entry": released.entry,
        "backbone": to_exact_json(released.shape.config()),
        "mean": to_exact_json(released.mean),
        "std": to_exact_json(released.std),
    }
    if released.image_size:
        facts["image_size"] = str(released.image_size)
    if rule := rule_of(released.shape.config()["type"]):
        facts["shift"] = rule
    write_safetensors(
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
        write_safetensors(tensors, folder / HEADS, metadata={"format": "pt", "heads": to_exact_json(heads)} | facts)
        written.append(folder / HEADS)
    lines = [{"name": name, "status": "loaded", "as": here} for name, here in released.loaded.items()]
    lines += [{"name": name, "status": "skipped", "reason": reason} for name, reason in released.skipped.items()]
    lines += [
        {"name": name, "status": "initialised", "reason": reason} for name, reason in released.initialised.items()
    ]
    decoded = {key: read_json(value) if key in ("backbone", "mean", "std") else value for key, value in facts.items()}
    write_json(folder / TABLE, decoded | {"heads": heads, "tensors": lines})
    run = write_run(released, source, folder) if is_run(released) else []
    return [*written, folder / TABLE, *run]


def is_run(released: Released) -> bool:
    """Whether an import can be a run: it has heads, and an image size."""
    return bool(released.heads or released.rest.classes) and released.image_size is not None


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
            described = read_json((stored.metadata() or {})["heads"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        found, expected = (
            f"cannot be read ({type(error).__name__}: {error})",
            f"{HEADS} as `foundationx import` writes it",
        )
        raise CheckpointError(str(path), found, expected, "import the released file again") from error
    try:
        heads = _HEADS.validate_python(described)
    except ValidationError as error:
        raise validation_error(error, _Head, str(path), CheckpointError, "heads") from None
    return tensors, {head.name: head.classes for head in heads}, tuple(head.name for head in heads if head.exclusive)


def projector_of(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """``model.projector`` of a configuration that fits the tensors of ``heads.safetensors``; None: there is none."""
    if "projector.0.weight" not in tensors:
        return None
    return {"features": tensors["projector.0.weight"].shape[0], "hidden": "projector.2.weight" in tensors}


def load_heads(model: FoundationModel, path: Path, heads: Mapping[str, str]) -> None:
    """Loads the projector and classification heads into a model.

    Args:
        model: Model whose heads have classes of the same names in the same order.
        path: ``heads.safetensors`` of an import.
        heads: ``dataset/classification`` of the model -> name of the imported head.

    Raises:
        CheckpointError: The file cannot be read; a head is not in it or not in the model; class names or their order
            differ; the projector differs.
    """
    tensors, classes, _ = read_heads(path)
    keys = {_fitting(model, key, name, classes, path): name for key, name in heads.items()}
    projector = {n.removeprefix("projector."): value for n, value in tensors.items() if n.startswith("projector.")}
    trunk = model.trunks[LABELS.value]
    _load(trunk.get_submodule("projector"), projector, f"{path}: projector", _projector_config(projector))
    for key, name in keys.items():
        parts = {kind: tensors[f"heads.{name}.{kind}"] for kind in ("weight", "bias")}
        _load(model.head(key).get_submodule("classifier"), parts, f"{path}: head {name}", "check model.backbone")


def _fitting(
    model: FoundationModel, text: str, name: str, classes: Mapping[str, tuple[str, ...]], path: Path
) -> TaskKey:
    """The key of the model's head that matches the imported head ``name``. Raises CheckpointError if none does."""
    if name not in classes:
        raise CheckpointError(str(path), f"has no head {name!r}", "one of its heads", nearest(name, classes))
    key = next((key for key in model.classes if str(key) == text), None)
    if key is None or key.task is not LABELS:
        known = [str(key) for key in model.classes if key.task is LABELS]
        found = f"the model has no classification head {text!r}"
        raise CheckpointError(str(path), found, "dataset/classification of the run", nearest(text, known))
    check_classes(classes[name], model.classes[key], f"{path}: head {name} for {key}")
    return key


def check_classes(stored: tuple[str, ...], expected: tuple[str, ...], where: str) -> None:
    """Raises CheckpointError if class names or their order differ."""
    if stored == expected:
        return
    if sorted(stored) == sorted(expected):
        k = next(i for i, (one, other) in enumerate(zip(stored, expected, strict=True)) if one != other)
        found = f"the same classes in another order: output {k} is {stored[k]!r}, the card's {expected[k]!r}"
        raise CheckpointError(where, found, ", ".join(stored), "list the card's classes in the head's order")
    missing, extra = [n for n in stored if n not in expected], [n for n in expected if n not in stored]
    found = f"the card lacks {', '.join(missing) or 'nothing'} and additionally has {', '.join(extra) or 'nothing'}"
    raise CheckpointError(where, found, ", ".join(stored), "use a card with these classes, or leave the head out")


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


def write_run(released: Released, source: Path, folder: Path) -> list[Path]:
    """Makes the folder a run: a checkpoint with all heads, and a configuration that starts from it.

    Args:
        released: Content of the released file; with heads and an image size.
        source: The released file; its name is recorded.
        folder: Folder of the import.

    Raises:
        CheckpointError: Tensors of the network are missing.
        ConfigError: The folder's name is no name of a run.
    """
    model, config = assembled(released, folder.absolute().name, str(source))
    checkpoints = WorkDir(folder).checkpoints
    checkpoints.mkdir(parents=True, exist_ok=True)
    path = save_checkpoint(
        checkpoints, config=config, model=model, teacher=model, optimizer={}, step=0, visit=0, progress={}
    )
    write_json(folder / "config.json", config.model_dump(mode="json"))
    return [path, _write_config(config, source, folder / "config.py")]


def assembled(released: Released, name: str, where: str, card: str = "") -> tuple[FoundationModel, RunConfig]:
    """The network of a released file with all its weights, and the configuration of a run with its heads.

    Args:
        released: Content of the released file; with heads and an image size.
        name: Name of the run.
        where: File, for messages.
        card: Dataset of a configuration without heads.

    Raises:
        CheckpointError: Tensors of the network are missing, or of another shape.
    """
    classes = {TaskKey(head.name, LABELS): head.classes for head in released.heads} | released.rest.classes
    projector = projector_of({f"projector.{name}": value for name, value in released.projector.items()})
    section = {
        "backbone": released.shape.config(),
        "mean": released.mean,
        "std": released.std,
        "projector": projector,
        "softmax": [str(TaskKey(head.name, LABELS)) for head in released.heads if head.exclusive],
        **released.rest.model,
    }
    datasets = _datasets(classes) or [{"card": card}]
    content = {"name": name, "image_size": released.image_size, "model": section, "datasets": datasets}
    config = as_data(parse_config(content | {"schedule": {"cycles": 1}}, where), where)
    weights = {f"backbone.net.{name}": value for name, value in released.backbone.items()} | released.rest.tensors
    weights |= {f"trunks.{LABELS.value}.projector.{name}": value for name, value in released.projector.items()}
    for head in released.heads:
        prefix = f"heads.{head_slug(TaskKey(head.name, LABELS))}.classifier"
        weights |= {f"{prefix}.weight": head.weight, f"{prefix}.bias": head.bias}
    with at_most(limit_of(weights), where):
        model = FoundationModel(config.model, classes)
    _load_all(model, weights, where)
    return model.eval(), config


def _load_all(model: FoundationModel, weights: Mapping[str, Tensor], where: str) -> None:
    """Strict loading of a whole model; few of the names that do not fit are named."""
    own = model.state_dict()
    wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    parts = {
        "missing": own.keys() - weights.keys(),
        "unexpected": weights.keys() - own.keys(),
        "of another shape": wrong,
    }
    if any(parts.values()):
        found = "; ".join(
            f"{len(names)} {what}: {', '.join(sorted(names)[:3])}" for what, names in parts.items() if names
        )
        fix = "fetch the file again, or skip its heads: --heads none"
        raise CheckpointError(where, found, "every tensor of the network", fix)
    model.load_state_dict(dict(weights))


def _datasets(classes: Mapping[TaskKey, tuple[str, ...]]) -> list[dict[str, Any]]:
    """The cards of heads, with the tasks whose classes are the card's; those of all heads if no card has them."""
    catalog = Catalog()
    fitting: dict[str, list[str]] = {}
    for key, names in classes.items():
        task = catalog.card(key.dataset).tasks.get(key.task)
        if task is not None and tuple(item.name for item in task.classes) == names:
            fitting.setdefault(key.dataset, []).append(key.task.value)
    if not fitting:
        return [{"card": name} for name in dict.fromkeys(key.dataset for key in classes)]
    return [{"card": card, "tasks": tasks} for card, tasks in fitting.items()]


def _write_config(config: RunConfig, source: Path, path: Path) -> Path:
    """A configuration that trains the import's heads further, and that others can have as their ``_base_``."""
    stored = config.model_dump(mode="json", exclude_defaults=True)
    model = stored["model"] | {"init_run": "{{ fileDirname }}"}
    parts = {name: stored[name] for name in ("name", "datasets")}
    parts |= {"image_size": config.image_size, "schedule": {"cycles": 1}}
    lines = [f"# Starts from {source.name!r}, which is in this folder as `foundationx import` read it."]
    lines += [f"{name} = {pprint.pformat(value, sort_dicts=False, width=110)}" for name, value in parts.items()]
    lines.append(f"model = {pprint.pformat(model, sort_dicts=False, width=110)}")
    write_atomically(path, "\n".join([*lines, ""]).encode())
    return path


def open_subject(path: Path, card: str, *, allow_code: bool = False) -> Checkpoint:
    """A checkpoint of a run, or one made of a backbone alone or of a released file.

    Args:
        path: Checkpoint, work directory, folder of an import, a backbone that an import or export wrote, or a released
            file (``RELEASED``).
        card: Dataset to evaluate on; the configuration of a backbone alone names no other.
        allow_code: Build whatever backbone the file names; otherwise only known ones.

    Raises:
        CheckpointError: There is none, it is torn, or a backbone does not record its image size.
    """
    if path.suffix in RELEASED and path.is_file():
        return _of_released(path, card or path.stem)
    stored = _backbone_alone(path)
    if stored is None:
        return load_checkpoint(path, allow_code=allow_code)
    config = _config(stored, card or stored.stem, allow_code)
    size = stored.stat().st_size
    with at_most(2 * size + SLACK, str(stored)):
        model = FoundationModel(config.model, {})
    load_backbone(model.backbone.net, stored)
    weights = model.state_dict()
    return Checkpoint(config, model.classes, 0, 0, weights, weights, {}, {})


def _of_released(path: Path, card: str) -> Checkpoint:
    """The model of a released file. Raises CheckpointError: the file does not record its image size."""
    released = read_released(path)
    if released.image_size is None:
        fix = f"foundationx import {path} --image-size PIXELS --out FOLDER, and use the folder"
        raise CheckpointError(str(path), "does not record its image size", "the size of the model's images", fix)
    model, config = assembled(released, path.stem, str(path), card)
    weights = model.state_dict()
    return Checkpoint(config, model.classes, 0, 0, weights, weights, {}, {})


def open_with_heads(path: Path, *, allow_code: bool = False) -> Checkpoint:
    """As :func:`open_subject`, without a dataset.

    Args:
        path: Checkpoint, work directory, folder of an import or a backbone.
        allow_code: Build whatever backbone the file names; otherwise only known ones.

    Raises:
        CheckpointError: As for :func:`open_subject`.
    """
    return open_subject(path, "", allow_code=allow_code)


def _backbone_alone(path: Path) -> Path | None:
    """The safetensors file of an import or export; None for anything else, which a checkpoint has to be."""
    stored = path / BACKBONE if path.is_dir() and not checkpoints_in(path) else path
    return stored if stored.is_file() and is_safetensors(stored) else None


def _config(path: Path, card: str, allow_code: bool) -> RunConfig:
    """The configuration that the file's metadata describe; everything else has its default."""
    try:
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata() or {}
        backbone, mean, std = (read_json(facts[name]) for name in ("backbone", "mean", "std"))
        image_size = int(facts["image_size"]) if "image_size" in facts else None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        found = f"cannot be read ({type(error).__name__}: {error})"
        expected = "a backbone as `foundationx import` or `export --to backbone` writes it"
        raise CheckpointError(str(path), found, expected, "import or export it again") from error
    if image_size is None:
        fix = "import it again with --image-size (224 for Adam)"
        raise CheckpointError(str(path), "does not record its image size", "the size of the model's images", fix)
    content = {
        "name": path.absolute().parent.name or path.stem,
        "image_size": image_size,
        "model": {"backbone": backbone, "mean": mean, "std": std},
        "datasets": [{"card": card}],
        "schedule": {"cycles": 1},
    }
    return as_data(parse_config(content, str(path)), str(path), allow_code=allow_code)
