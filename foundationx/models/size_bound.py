"""Bounds the size of a network while it is being built, before its memory is allocated."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from foundationx.core.errors import CheckpointError

SLACK = 1 << 24
"""Elements that a network may have beyond twice those of its weights: buffers that no state dict holds."""

_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.linspace}


class _AllocationBound(TorchFunctionMode):
    """Refuses to create a tensor of more than ``limit`` elements."""

    def __init__(self, limit: int, where: str):
        super().__init__()
        self.limit, self.where = limit, where

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in _FACTORIES:
            sizes = args[0] if args and isinstance(args[0], list | tuple) else args
            sizes = (kwargs or {}).get("size", sizes)
            elements = math.prod(size for size in sizes if isinstance(size, int))
            if elements > self.limit:
                raise _too_large(self.where, self.limit)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def at_most(elements: int, where: str) -> Iterator[None]:
    """Networks built inside may hold no more than ``elements`` elements in parameters and buffers.

    Args:
        elements: Limit, for each tensor and for all together.
        where: File that describes the network, for messages.

    Raises:
        CheckpointError: The network is larger.
    """
    total = 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal total
        total += 0 if tensor is None else tensor.numel()
        if total > elements:
            raise _too_large(where, elements)

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        with _AllocationBound(elements, where):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def check_tensors(content: Any, size: int, where: str) -> None:
    """Refuses what a file holds if its tensors are larger than the file, as views that repeat their numbers are.

    Args:
        content: What ``torch.load`` returned: tensors in dictionaries, lists and tuples.
        size: Bytes of the file, unpacked. Twice as much, and 16 MiB more, are allowed, for weights that are tied.
        where: The file, for messages.

    Raises:
        CheckpointError: They are larger.
    """
    total, limit, seen, pending = 0, 2 * size + SLACK, set(), [content]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)
    if total > limit:
        found = f"its tensors take {total:,} bytes, the file {size:,}"
        raise CheckpointError(where, found, "tensors that the file holds", "fetch the file again")


def limit_of(weights: dict[str, Tensor]) -> int:
    """Most elements of a network whose weights a file holds."""
    return 2 * sum(tensor.numel() for tensor in weights.values()) + SLACK


def _too_large(where: str, elements: int) -> CheckpointError:
    found = f"describes a network of more than {elements:,} numbers"
    return CheckpointError(where, found, "a network of the size of its weights", "fetch the file again")
