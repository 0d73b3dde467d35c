"""Where to compute, and on how many cores."""

from __future__ import annotations

import os

import torch

from foundationx.core import distributed
from foundationx.core.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", distributed.local_rank()) if distributed.world_size() > 1 else torch.device("cuda")
    if name == "auto":
        return torch.device("cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("runtime.device", f"{name!r} cannot be used: {error}", "auto, cpu or cuda") from error
    return torch.device(name)


def usable_cores() -> int:
    """Number of CPU cores that this process may use, which a container can limit."""
    return len(os.sched_getaffinity(0))


def share_cores(workers: int) -> int:
    """Leaves a core to each worker that reads data and takes the others for computing; gives their number.

    With more threads than free cores every small operation waits for a thread that has none: whole windows of steps
    run ten times slower. ``OMP_NUM_THREADS``, where it is set, stands.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() - workers))
    return torch.get_num_threads()
