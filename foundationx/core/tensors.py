"""One change to every tensor of a structure: to another device, to page-locked memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def map_tensors(value: Any, change: Callable[[Tensor], Tensor], changed: dict[int, Tensor] | None = None) -> Any:
    """The same structure with every tensor changed once; what was one tensor in two places stays one.

    Args:
        value: a tensor, or dictionaries and dataclasses that hold some; anything else stays as it is.
        change: applied to each tensor.
        changed: results so far by the tensor's identity; empty where it is None.
    """
    changed = {} if changed is None else changed
    if isinstance(value, Tensor):
        if id(value) not in changed:
            changed[id(value)] = change(value)
        return changed[id(value)]
    if isinstance(value, dict):
        return {name: map_tensors(item, change, changed) for name, item in value.items()}
    if is_dataclass(value):
        return replace(value, **{f.name: map_tensors(getattr(value, f.name), change, changed) for f in fields(value)})
    return value
