"""What the benchmarks share: things are timed in turns in one process on one thread, bytes are counted."""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from foundationx.core.device import pick_device
from foundationx.engine.profile import matrix_speed

CPU = torch.device("cpu")


def options(docstring: str, runs: int = 7, further: Mapping[str, Any] | None = None) -> argparse.Namespace:
    """The command line of a benchmark; torch and OpenCV get one thread.

    Args:
        docstring: of the script.
        runs: timed runs, where none are asked for.
        further: options of this script with their defaults; ``device`` becomes a device, ``auto`` is CUDA if possible.
    """
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("--runs", type=int, default=runs, help="timed runs of each thing")
    for name, default in (further or {}).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    chosen = parser.parse_args()
    if "device" in chosen:
        chosen.device = pick_device(chosen.device)
    return chosen


def in_turns(
    things: Mapping[str, Callable[[], Any]],
    runs: int,
    device: torch.device = CPU,
    before: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, float]:
    """Median seconds of each thing (:func:`each_in_turn`)."""
    return {name: statistics.median(values) for name, values in each_in_turn(things, runs, device, before).items()}


def each_in_turn(
    things: Mapping[str, Callable[[], Any]],
    runs: int,
    device: torch.device = CPU,
    before: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each thing in each run, after one run that is not counted.

    On the CPU those of the processor, so that waiting for a core does not count; elsewhere those that pass until the
    device has done all it was asked to.

    Args:
        things: What is timed, by name.
        runs: Timed runs of each thing.
        device: Device that computes.
        before: What comes before each run of a thing and is not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for turn in range(runs + 1):
        for name, thing in things.items():
            if before is not None:
                before[name]()
            start = now(device)
            thing()
            if turn:
                seconds[name].append(now(device) - start)
    return seconds


def paired(slow: Sequence[float], quick: Sequence[float]) -> float:
    """How many times faster: the median over runs of the ratio within a run, so that what slows both does not count."""
    return statistics.median(one / other for one, other in zip(slow, quick, strict=True))


class Operations(TorchDispatchMode):
    """Counts the operations that torch is asked for and their arithmetic, whether or not there is a graph.

    Attributes:
        count: Operations.
        flop: Floating-point operations of products and convolutions, as torch counts them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = self.flop = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.count += 1
        if function.overloadpacket in flop_registry:
            self.flop += flop_registry[function.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def give_memory_back() -> None:
    """glibc's allocator as it settles in a process that leaves it alone, at its most generous.

    Its thresholds grow with the blocks that are freed, up to these.
    """
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        for setting, size in ((-3, 32 * 2**20), (-1, 64 * 2**20)):
            allocator.mallopt(setting, size)


def now(device: torch.device) -> float:
    """Seconds of the processor on the CPU; elsewhere of the clock, once the device has done all it was asked to."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def bytes_for_backward(forward: Callable[[], Any]) -> int:
    """Bytes of all storages that a forward pass keeps for its backward pass, parameters left out, each once."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        owner = tensor if tensor._base is None else tensor._base
        if not isinstance(owner, torch.nn.Parameter):
            alive.append(tensor)  # so that no address is used twice
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()
    del output
    return sum(kept.values())


class Peak(TorchDispatchMode):
    """The most bytes that results of operations held at once; what was there before does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        before = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if is_plain(tensor)}
        for result in tree_leaves(results):
            if is_plain(result) and result.untyped_storage()._cdata not in before | self._known:
                self._take(result.untyped_storage())
        return results

    def _take(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        self._known.add(address)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._drop, address, size)

    def _drop(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


def is_plain(value: Any) -> bool:
    """A tensor with a storage of its own kind."""
    return isinstance(value, Tensor) and value.layout is torch.strided


def peak_bytes(step: Callable[[], Any], device: torch.device = CPU) -> int:
    """The most bytes that a step holds beside what it was given; on CUDA as its allocator counts them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with Peak() as peak:
        step()
    return peak.most


def matrix_product(device: torch.device) -> float:
    """Floating-point operations a second of one large matrix product, of the type that the device computes in."""
    return matrix_speed(device, torch.bfloat16 if device.type == "cuda" else torch.float32)


def heading(title: str, setting: str, device: torch.device = CPU) -> None:
    """Title of a section, and what was measured on what."""
    machine = f"{platform.machine()} CPU, 1 thread"
    if device.type == "cuda":
        machine = f"{torch.cuda.get_device_name(device)}, bf16"
    print(f"## {title}\n")
    print(f"{setting} torch {torch.__version__}, {machine}.\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A markdown table."""
    for row in (columns, ["---"] * len(columns), *rows):
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def times(slow: float, quick: float) -> str:
    """How many times faster."""
    ratio = slow / quick
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.2f}"
