"""The device and the number of CPU cores to compute on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from foundationx.core import distributed
from foundationx.core.errors import ConfigError
from foundationx.core.memory import keep_freed_memory

if TYPE_CHECKING:
    from foundationx.core.config.run import CudaConfig


def pick_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: Device of torch, such as ``cpu`` or ``cuda:0``; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ConfigError: The device cannot be used.
    """
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", distributed.local_rank()) if distributed.world_size() > 1 else torch.device("cuda")
    if name == "auto":
        return torch.device("cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        fix = "choose a device of this machine, or auto"
        raise ConfigError("runtime.device", f"{name!r} cannot be used: {error}", "auto, cpu or cuda", fix) from error
    return torch.device(name)


def gpus() -> list[Any]:
    """Properties of every CUDA device: ``name``, ``total_memory`` in bytes and so on."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_properties(index) for index in range(count)]


def usable_cores() -> int:
    """Number of CPU cores that this process may use, which a container can limit."""
    return len(os.sched_getaffinity(0))


def share_cores(workers: int) -> int:
    """Limits torch to the cores that worker processes leave free.

    With more threads than free cores, small operations wait for threads that have no core, and steps take up to ten
    times as long. ``OMP_NUM_THREADS`` takes precedence if it is set.

    Args:
        workers: Number of processes that read data.

    Returns:
        Number of threads that torch uses.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() - workers))
    return torch.get_num_threads()


def use_machine(workers: int) -> None:
    """What a process that computes does before: it shares the cores, and keeps the memory that it frees.

    Args:
        workers: Number of processes that read data.
    """
    share_cores(workers)
    keep_freed_memory()


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Whether training on a device computes in bf16.

    Args:
        precision: ``runtime.precision`` of a configuration.
        device: Device of the model.
    """
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def has_bf16_instructions() -> bool:
    """Whether the processor multiplies in bf16 by instructions of its own (AVX-512 or AMX), which saves time."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # a torch without them says no
    return any(getattr(torch.cpu, name, bool)() for name in names)


def set_cuda_arithmetic(cuda: CudaConfig, device: torch.device) -> None:
    """Sets how CUDA multiplies and convolves in this process; does nothing for another device.

    Args:
        cuda: ``runtime.cuda`` of a configuration.
        device: Device that is computed on.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cuda.tf32
        torch.backends.cudnn.benchmark = cuda.cudnn_benchmark


def seed_generators(seed: int, device: torch.device) -> None:
    """Seeds what a computation on a device draws from: as ``torch.manual_seed``, without all other devices.

    That one keeps a stack trace for every kind of device that is not in use, which a training step has no time for.

    Args:
        seed: Any whole number that torch takes.
        device: Device that is computed on.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
