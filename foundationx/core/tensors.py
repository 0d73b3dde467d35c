"""Changes every tensor of a structure, for example to another device or to page-locked memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def map_tensors(value: Any, change: Callable[[Tensor], Tensor], changed: dict[int, Tensor] | None = None) -> Any:
    """The same structure with every tensor changed once; a tensor that occurs twice stays one tensor.

    Args:
        value: Tensor, or dictionaries and dataclasses of tensors; anything else is returned as it is.
        change: Function of a tensor.
        changed: Results so far by ``id`` of the tensor; None is none.
    """
    changed = {} if changed is None else changed
    if isinstance(value, Tensor):
        if id(value) not in changed:
            changed[id(value)] = change(value)
        return changed[id(value)]
    if isinstance(value, dict):
        return {name: map_tensors(item, change, changed) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: map_tensors(getattr(value, f.name), change, changed) for f in fields(value)})
    return value
