"""Counts, on the CPU, what a step would make the host and an accelerator wait for."""

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class HostTraffic(TorchFunctionMode):
    """Counts what would wait for the device, or copy to it, were the tensors there."""

    WAITING = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "nonzero", "unique")

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in self.WAITING or name in ("tensor", "new_tensor", "as_tensor"):
            self.calls[name] += 1
        if name == "to" and any(isinstance(value, torch.device) for value in args):
            self.calls["to device"] += 1
        return function(*args, **(kwargs or {}))


class Dispatched(TorchDispatchMode):
    """Counts dispatched operations by name."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function.__name__.split(".")[0]] += 1
        return function(*args, **(kwargs or {}))
