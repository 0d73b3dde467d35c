"""A run that continues an earlier one with other datasets: weights, heads and classes are matched by name.

The released code matches heads by their position in the list of datasets, so that another order silently loads wrong
heads if they have equally many classes (``docs/methods/ark.md``, "2.4 Continual pretraining").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.types import TaskKey
from foundationx.engine.checkpoint import read_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.lora import plain_name
from foundationx.models.parameter_groups import head_owner, head_slug
from foundationx.tasks.base import open_head

HEADS = "heads."


@torch.no_grad()
def load_run(model: FoundationModel, path: Path) -> dict[str, Any]:
    """Starts a model from the teacher of an earlier run.

    Backbone and trunks have to match. Heads of the earlier run are loaded class by class, by name; heads, classes and
    trunks that it did not have keep their initialisation.

    Args:
        model: Model to start.
        path: A checkpoint or a work directory.

    Returns:
        The result for ``run.json``: head -> classes that were ``loaded`` and ``initialised``, head -> classes of the
        earlier run that were ``skipped``, and tasks with ``initialised_trunks``.

    Raises:
        CheckpointError: The checkpoint cannot be read, its backbone or a trunk differs, or a head of the same name has
            no class in common.
    """
    checkpoint = read_checkpoint(path)
    state = _shared(model, checkpoint.teacher, path)
    loaded: dict[str, list[str]] = {}
    initialised: dict[str, list[str]] = {}
    for key, classes in model.classes.items():
        earlier = checkpoint.classes.get(key)
        if earlier is None:
            initialised[str(key)] = list(classes)
            continue
        prefix = HEADS + head_slug(head_owner(key, checkpoint.config.model)) + "."
        stored = {n.removeprefix(prefix): value for n, value in checkpoint.teacher.items() if n.startswith(prefix)}
        state |= _head(model, key, stored, earlier, path)
        loaded[str(key)] = [name for name in classes if name in earlier]
        if new := [name for name in classes if name not in earlier]:
            initialised[str(key)] = new
    model.load_state_dict(model.state_dict() | state)
    left = {
        str(key): [name for name in classes if name not in model.classes.get(key, ())]
        for key, classes in checkpoint.classes.items()
    }
    return {
        "source": str(path),
        "step": checkpoint.step,
        "loaded": loaded,
        "initialised": initialised,
        "skipped": {key: names for key, names in left.items() if names},
        "initialised_trunks": sorted(_tasks(model.classes) - _tasks(checkpoint.classes)),
    }


def _tasks(keys: Iterable[TaskKey]) -> set[str]:
    return {key.task.value for key in keys}


def _shared(model: FoundationModel, stored: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Backbone and trunks, except trunks that the earlier run did not have."""
    shared = {}
    stored_parts = {_part(name) for name in stored}
    for name, own in model.state_dict().items():
        if name.startswith(HEADS) or _part(name) not in stored_parts:
            continue
        plain = plain_name(name)
        if plain is None and name not in stored:
            continue  # what low-rank adaptation adds is new
        value = stored.get(name, stored.get(plain or name))
        if value is None or value.shape != own.shape:
            has = "nothing" if value is None else tuple(value.shape)
            fix = "use the model section of the earlier run"
            raise CheckpointError(str(path), f"{name} is {has} in the earlier run", f"{tuple(own.shape)}", fix)
        shared[name] = value
    return shared


def _part(name: str) -> str:
    """``backbone`` or ``trunks.detection``."""
    return ".".join(name.split(".")[: 2 if name.startswith("trunks.") else 1])


def _head(
    model: FoundationModel, key: TaskKey, stored: Mapping[str, Tensor], earlier: tuple[str, ...], path: Path
) -> dict[str, Tensor]:
    """A head's tensors under the model's names. Rows of a class are loaded by its name."""
    classes, head = model.classes[key], model.head(key)
    pairs = [(classes.index(name), earlier.index(name)) for name in classes if name in earlier]
    if not pairs:
        found = f"{key} has no class in common: {', '.join(earlier)}"
        raise CheckpointError(str(path), found, ", ".join(classes), "give the dataset's card another name")
    here, there = map(list, zip(*pairs, strict=True))
    by_class = _tensors_by_class(model, key)
    if not by_class and classes != earlier:
        found = f"the classes of {key} are {', '.join(earlier)}, and its head has no outputs of one class each"
        fix = "use a card with these classes in this order, or another head (model.heads)"
        raise CheckpointError(str(path), found, ", ".join(classes), fix)
    tensors = {}
    for name, own in head.state_dict().items():
        value = stored.get(name)
        shape = own.shape if name not in by_class else (own.shape[0] + len(earlier) - len(classes), *own.shape[1:])
        if value is None or tuple(value.shape) != tuple(shape):
            has = "nothing" if value is None else tuple(value.shape)
            fix = "use the model section of the earlier run"
            raise CheckpointError(str(path), f"{name} of head {key} is {has}", f"{tuple(shape)}", fix)
        if name in by_class:
            merged = own.clone()
            merged[here] = value[there].to(own.device)
            merged[len(classes) :] = value[len(earlier) :].to(own.device)  # rows without a class, such as padding
            value = merged
        tensors[f"{HEADS}{head_slug(head_owner(key, model.config))}.{name}"] = value
    return tensors


def _tensors_by_class(model: FoundationModel, key: TaskKey) -> set[str]:
    """Names of a head's tensors with one row per class: those that grow by a row with each class.

    A head whose outputs are fixed has none, and may be full; one in which a tensor grows otherwise gives none either,
    since classes are no rows there.
    """
    trunk = model.trunks[key.task.value]
    head_class, options = open_head(key.task, model.config)
    count = len(model.classes[key])
    try:
        one, other = (head_class.build(trunk, n, model.config, options).state_dict() for n in (count, count + 1))
    except ConfigError:
        return set()
    grown = {name: other[name] for name, value in one.items() if value.shape != other[name].shape}
    is_by_row = all(new.shape == (len(one[name]) + 1, *one[name].shape[1:]) for name, new in grown.items())
    return set(grown) if is_by_row else set()
