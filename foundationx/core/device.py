"""The device and the number of CPU cores to compute on."""

from __future__ import annotations

import os

import torch

from foundationx.core import distributed
from foundationx.core.errors import ConfigError


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
