"""Parameter groups: what a phase locks and releases.

Every parameter of the model is in exactly one parameter group. A group is a set of module prefixes; the longest prefix
wins.

    backbone                everything of the backbone
    projector               between pooled feature and classification heads, if there is one
    neck, encoder           of the shared detection trunk
    decoder.detection       the shared detection decoder (``sharing='queries'``, Foundation X+)
    decoder.segmentation    the shared PPM + FPN
    trunk.<task>            the trunk of a task of another package
    head.shared/<task>      the one head of all datasets (``model.shared_head``)
    head.<dataset>/<task>   one dataset's head, with its own decoder if ``sharing='decoder'`` (Foundation X)

They are not the optimizer's groups. Those follow from learning rates and weight decay; what ``optimizer.lr_scale``
names is a *learning-rate group* here (:func:`lr_groups`): ``backbone``, ``decoder``, ``head.classification`` ...
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task, TaskKey, all_tasks
from foundationx.tasks.definition import task_of

if TYPE_CHECKING:  # a plan is made without torch
    from torch import nn


def head_owner(key: TaskKey, config: ModelConfig) -> TaskKey:
    """The key under which a key's head stands: its own, or that of the head that all datasets share."""
    return TaskKey("shared", key.task) if task_of(key.task).has_one_head(config) else key


def head_group(key: TaskKey) -> str:
    """Name of a head's group."""
    return f"head.{key}"


def head_slug(key: TaskKey) -> str:
    """The head's name as a module (module names hold no dots or slashes)."""
    return f"{key.dataset}__{key.task.value}"


def head_key(slug: str) -> TaskKey:
    """The key of a head's module name."""
    dataset, _, task = slug.rpartition("__")
    return TaskKey(dataset, Task(task))


def shared_groups(task: Task, config: ModelConfig) -> tuple[str, ...]:
    """Groups below the heads that a task uses, from the image upwards."""
    return ("backbone", *task_of(task).shared_groups(config))


def lock_groups(key: TaskKey, config: ModelConfig) -> tuple[str, ...]:
    """What a lock phase trains: the head alone."""
    return (head_group(head_owner(key, config)),)


def task_groups(key: TaskKey, config: ModelConfig) -> tuple[str, ...]:
    """All groups that a head's loss reaches: what a release phase trains."""
    return (*shared_groups(key.task, config), head_group(head_owner(key, config)))


def group_prefixes(model: nn.Module) -> dict[str, str]:
    """Group of each module prefix, for the modules that this model has."""
    modules = {name for name, _ in model.named_modules()}
    prefixes = {"backbone": "backbone"}
    for task in all_tasks():
        groups = {
            f"trunks.{task.value}.{part}".rstrip("."): group for part, group in task_of(task).trunk_groups().items()
        }
        prefixes |= {prefix: group for prefix, group in groups.items() if prefix in modules}
    for slug, _ in model.get_submodule("heads").named_children():
        prefixes[f"heads.{slug}"] = head_group(head_key(slug))
    return prefixes


def group_members(model: nn.Module) -> dict[str, list[str]]:
    """Names of the parameters of each group. Raises KeyError for a parameter that is in no group."""
    prefixes = group_prefixes(model)
    groups: dict[str, list[str]] = {group: [] for group in prefixes.values()}
    for name, _ in model.named_parameters():
        groups[prefixes[_longest_prefix(name, prefixes)]].append(name)
    return {group: names for group, names in groups.items() if names}


def group_of_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Group of each parameter or buffer name. Raises KeyError for a name that is in no group."""
    prefixes = group_prefixes(model)
    return {name: prefixes[_longest_prefix(name, prefixes)] for name in names}


def group_sizes(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each group."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {group: sum(sizes[name] for name in names) for group, names in group_members(model).items()}


def lr_groups(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Learning-rate group and task by parameter name: ``("decoder", "detection")``; the backbone's is ``shared``."""
    prefixes = group_prefixes(model)
    return {name: _group(name, _longest_prefix(name, prefixes), prefixes) for name, _ in model.named_parameters()}


def _group(parameter_name: str, prefix: str, prefixes: dict[str, str]) -> tuple[str, str]:
    group = prefixes[prefix]
    if group == "backbone":
        return "backbone", "shared"
    if group.startswith("head."):
        own_decoder = parameter_name.startswith(f"{prefix}.decoder.")
        return ("decoder" if own_decoder else "head"), TaskKey.parse(group.removeprefix("head.")).task.value
    return group.split(".")[0], prefix.split(".")[1]


_BLOCK = re.compile(r"\.(?:layers?|stages|blocks)\.?(\d+)(?:\.(?:blocks\.|layers\.)?(\d+))?\.")
_BEFORE_STAGE = re.compile(r"\.downsample_layers\.(\d+)\.")
_BELOW_BLOCKS = re.compile(r"embed|token|pre_layrnorm|^backbone\.net\.(conv1|bn1|stem)")


def blocks_above(model: nn.Module) -> dict[str, int]:
    """How many blocks of the backbone are above each of its parameters, by name.

    0 for norms of the output and for a feature pyramid, 1 for the last block, and so on; patch embedding, tokens and
    positions are below the first block. In networks with stages the blocks of all stages count.
    """
    positions = {name: _position(name) for name, _ in model.named_parameters() if name.startswith("backbone.")}
    blocks = sorted({position for position in positions.values() if position is not None and position[1] >= 0})
    with_blocks = [position for position in blocks if position[1] < _AFTER_BLOCKS] or blocks
    count = len(with_blocks)
    above = {}
    for name, position in positions.items():
        if position is None:
            above[name] = count + 1 if _BELOW_BLOCKS.search(name) and ".pyramid." not in name else 0
        else:  # what joins two stages goes with the stage's last block, or with the next one's first
            below = sum(other < position for other in with_blocks)
            inside = position in with_blocks or position[1] < 0
            above[name] = count + 1 if position == _STEM else count - below + (0 if inside else 1)
    return above


_AFTER_BLOCKS = 1 << 20
_STEM = (0, -1)


def _position(name: str) -> tuple[int, int] | None:
    """Stage and block of a parameter of the backbone: (stage, -1) before its first block, None outside of stages."""
    if ".pyramid." in name:
        return None
    if match := _BEFORE_STAGE.search(name):
        return int(match[1]), -1
    match = _BLOCK.search(name)
    if match is None:
        return None
    return int(match[1]), _AFTER_BLOCKS if match[2] is None else int(match[2])


def _longest_prefix(name: str, prefixes: Collection[str]) -> str:
    fitting = [prefix for prefix in prefixes if name == prefix or name.startswith(prefix + ".")]
    if not fitting:
        raise KeyError(f"parameter {name} is in no parameter group; they cover {', '.join(sorted(prefixes))}")
    return max(fitting, key=len)


@contextmanager
def lock(model: nn.Module, trainable: Collection[str]) -> Iterator[None]:
    """Trains only the groups named; all others are frozen: no gradient, normalisation statistics and dropout still.

    So are weights of the backbone that are adapted (``models/lora.py``).

    Nothing below the lowest trainable group builds a graph, since nothing there requires a gradient. Afterwards the
    whole model is released and in evaluation mode.

    Raises:
        KeyError: The model does not have one of the groups.
    """
    prefixes = group_prefixes(model)
    if unknown := set(trainable) - set(prefixes.values()):
        raise KeyError(
            f"no such parameter group: {', '.join(sorted(unknown))}; known: {', '.join(sorted(prefixes.values()))}"
        )
    model.train()
    for prefix in sorted(prefixes, key=len):  # a longer prefix overrides the shorter one that holds it
        module = model.get_submodule(prefix)
        open_ = prefixes[prefix] in trainable
        module.train(open_)
        module.requires_grad_(open_)
    backbone = model.get_submodule("backbone")
    for name in getattr(backbone, "frozen", ()):
        backbone.get_parameter(name).requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)
        model.zero_grad(set_to_none=True)
        model.eval()
