"""Named parameter scopes: what the schedule locks and releases, and what the optimizer gives a learning rate.

Every parameter of the model is in exactly one scope. A scope is a set of module prefixes; the longest prefix wins.

    backbone                everything of the backbone
    projector               between pooled feature and classification heads (where there is one)
    neck, encoder           of the shared detection trunk
    decoder.detection       the shared detection decoder (``sharing='queries'``, Foundation X+)
    decoder.segmentation    the shared PPM + FPN
    trunk.<task>            the trunk of a task of another package
    head.shared/<task>      the one head of all datasets (``model.shared_head``)
    head.<dataset>/<task>   one dataset's head, with its own decoder where ``sharing='decoder'`` (Foundation X)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task, TaskKey, all_tasks
from foundationx.tasks.definition import task_of


def head_owner(key: TaskKey, config: ModelConfig) -> TaskKey:
    """The key under which a key's head stands: its own, or that of the head that all datasets share."""
    return TaskKey("shared", key.task) if config.shared_head and key.task.facts.shares_head else key


def head_scope(key: TaskKey) -> str:
    """Name of a head's scope."""
    return f"head.{key}"


def head_slug(key: TaskKey) -> str:
    """The head's name as a module (module names hold no dots or slashes)."""
    return f"{key.dataset}__{key.task.value}"


def head_key(slug: str) -> TaskKey:
    """The key of a head's module name."""
    dataset, _, task = slug.rpartition("__")
    return TaskKey(dataset, Task(task))


def shared_scopes(task: Task, config: ModelConfig) -> tuple[str, ...]:
    """Scopes below the heads that a task uses, from the image upwards."""
    return ("backbone", *task_of(task).shared_scopes(config))


def lock_scopes(key: TaskKey, config: ModelConfig) -> tuple[str, ...]:
    """What a lock phase trains: the head alone."""
    return (head_scope(head_owner(key, config)),)


def task_scopes(key: TaskKey, config: ModelConfig) -> tuple[str, ...]:
    """All scopes that a head's loss reaches: what a release phase trains."""
    return (*shared_scopes(key.task, config), head_scope(head_owner(key, config)))


def scope_prefixes(model: nn.Module) -> dict[str, str]:
    """Module prefix to scope, for the modules that this model has."""
    modules = {name for name, _ in model.named_modules()}
    prefixes = {"backbone": "backbone"}
    for task in all_tasks():
        scopes = {
            f"trunks.{task.value}.{part}".rstrip("."): scope for part, scope in task_of(task).trunk_scopes().items()
        }
        prefixes |= {prefix: scope for prefix, scope in scopes.items() if prefix in modules}
    for slug, _ in model.get_submodule("heads").named_children():
        prefixes[f"heads.{slug}"] = head_scope(head_key(slug))
    return prefixes


def scopes_of(model: nn.Module) -> dict[str, list[str]]:
    """Scope to the names of its parameters. Raises KeyError for a parameter that is in no scope."""
    prefixes = scope_prefixes(model)
    scopes: dict[str, list[str]] = {scope: [] for scope in prefixes.values()}
    for name, _ in model.named_parameters():
        scopes[prefixes[_longest_prefix(name, prefixes)]].append(name)
    return {scope: names for scope, names in scopes.items() if names}


def scope_of_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Parameter or buffer name to scope. Raises KeyError for a name that is in no scope."""
    prefixes = scope_prefixes(model)
    return {name: prefixes[_longest_prefix(name, prefixes)] for name in names}


def scope_sizes(model: nn.Module) -> dict[str, int]:
    """Scope to its number of parameters."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {scope: sum(sizes[name] for name in names) for scope, names in scopes_of(model).items()}


def groups_of(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Parameter name to optimizer group and task, e.g. ``("decoder", "detection")``; the backbone's is ``shared``."""
    prefixes = scope_prefixes(model)
    return {name: _group(name, _longest_prefix(name, prefixes), prefixes) for name, _ in model.named_parameters()}


def _group(parameter_name: str, prefix: str, prefixes: dict[str, str]) -> tuple[str, str]:
    scope = prefixes[prefix]
    if scope == "backbone":
        return "backbone", "shared"
    if scope.startswith("head."):
        own_decoder = parameter_name.startswith(f"{prefix}.decoder.")
        return ("decoder" if own_decoder else "head"), TaskKey.parse(scope.removeprefix("head.")).task.value
    return scope.split(".")[0], prefix.split(".")[1]


def _longest_prefix(name: str, prefixes: Collection[str]) -> str:
    fitting = [prefix for prefix in prefixes if name == prefix or name.startswith(prefix + ".")]
    if not fitting:
        raise KeyError(f"parameter {name} is in no scope; scopes cover {', '.join(sorted(prefixes))}")
    return max(fitting, key=len)


@contextmanager
def lock(model: nn.Module, trainable: Collection[str]) -> Iterator[None]:
    """Trains only the scopes named; all others are frozen: no gradient, normalisation statistics and dropout still.

    Nothing below the lowest trainable scope builds a graph, since nothing there requires a gradient. Afterwards the
    whole model is released and in evaluation mode.

    Raises:
        KeyError: a scope that the model does not have.
    """
    prefixes = scope_prefixes(model)
    if unknown := set(trainable) - set(prefixes.values()):
        raise KeyError(f"no such scope: {', '.join(sorted(unknown))}; known: {', '.join(sorted(prefixes.values()))}")
    model.train()
    for prefix in sorted(prefixes, key=len):  # a longer prefix overrides the shorter one that holds it
        module = model.get_submodule(prefix)
        open_ = prefixes[prefix] in trainable
        module.train(open_)
        module.requires_grad_(open_)
    try:
        yield
    finally:
        model.requires_grad_(True)
        model.zero_grad(set_to_none=True)
        model.eval()
