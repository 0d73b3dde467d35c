"""Several processes that train one model together, each with its share of every batch ("ranks").

Without a launcher there is one rank and everything here does nothing: the same code runs, bit for bit. Launchers are
``torchrun`` and Slurm (through mmengine). Tensors on the CPU travel by gloo, those on CUDA by NCCL.

What all ranks must agree on, they agree on here; every function that communicates is called by all of them, in one
order.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from foundationx.core.errors import FoundationXError

PATIENCE = datetime.timedelta(hours=6)
"""How long ranks wait for one that evaluates. A rank that dies is noticed at once, by its launcher."""


class RankError(FoundationXError):
    """Another process of the job has failed, or could not be reached."""


def world_size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which rank this is, from 0; before and after the ranks are joined as the launcher says."""
    return dist.get_rank() if world_size() > 1 else int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def is_main_process() -> bool:
    """Whether this is the rank that writes files, evaluates and talks."""
    return rank() == 0


def local_rank() -> int:
    """Which rank of its machine this is: the number of its CUDA device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextlib.contextmanager
def init_process_group() -> Iterator[None]:
    """Joins the other ranks of a launcher's job, and leaves them at the end; alone without a launcher."""
    launcher = _launcher()
    if launcher is None or world_size() > 1:
        yield
        return
    if torch.cuda.is_available():
        from foundationx.core.openmmlab import init_dist

        init_dist(launcher, backend="cpu:gloo,cuda:nccl", timeout=PATIENCE.total_seconds())
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _launcher() -> str | None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        return "pytorch"
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ and torch.cuda.is_available():
        return "slurm"
    return None


def mean_count(number: Tensor) -> Tensor:
    """A count of at least 1 over all ranks, divided by their number.

    A loss that is a sum over entries divided by this is, averaged over ranks, the sum over all entries divided by
    their number: as if one process had seen the whole batch.
    """
    if world_size() == 1:
        return number.clamp(min=1)
    total = number.to(torch.float32)
    _reduce(total, dist.ReduceOp.SUM)
    return total.clamp(min=1) / world_size()


def batch_share(images: int, device: torch.device) -> Tensor | float:
    """What a mean over this rank's images is multiplied by, so that the mean over ranks is that over all images."""
    if world_size() == 1:
        return 1.0
    return images / mean_count(torch.tensor(float(images), device=device))


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over ranks, joined to the graph: each rank's share receives its gradient."""
    return values if world_size() == 1 else _Summed.apply(values)


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Averages tensors over ranks, in place, in one message a data type."""
    if world_size() == 1 or not tensors:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        _reduce(flat, dist.ReduceOp.SUM)
        flat /= world_size()
        parts = flat.split([tensor.numel() for tensor in group])
        for tensor, part in zip(group, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def all_reduce_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Averages gradients over ranks; a parameter that only some ranks have used counts as 0 on the others.

    A parameter that no rank has used keeps no gradient, so that the optimizer leaves it alone.
    """
    if world_size() == 1:
        return
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    _reduce(used, dist.ReduceOp.MAX)
    shared = [parameter for parameter, is_used in zip(parameters, used.tolist(), strict=True) if is_used]
    for parameter in shared:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_mean_([parameter.grad for parameter in shared])


def all_reduce_all_tensor(flag: Tensor) -> Tensor:
    """Whether a flag () on the device is true on all ranks."""
    if world_size() == 1:
        return flag
    value = flag.to(torch.float32)
    _reduce(value, dist.ReduceOp.MIN)
    return value > 0


def all_reduce_any_tensor(flags: Tensor) -> Tensor:
    """Which flags on the device are true on any rank."""
    if world_size() == 1:
        return flags
    values = flags.to(torch.float32)
    _reduce(values, dist.ReduceOp.MAX)
    return values > 0


def all_reduce_any(*flags: bool) -> tuple[bool, ...]:
    """Which of the flags are true on any rank."""
    if world_size() == 1:
        return flags
    values = torch.tensor(flags, dtype=torch.uint8)
    _reduce(values, dist.ReduceOp.MAX)
    return tuple(map(bool, values.tolist()))


def all_gather_object(value: Any) -> list[Any]:
    """Everyone's value, by rank. For small plain things: it travels pickled, between processes of one job."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise _lost(error) from error
    return values


def _reduce(tensor: Tensor, operation: dist.ReduceOp) -> None:
    try:
        dist.all_reduce(tensor, operation)
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: RuntimeError) -> RankError:
    reason = " ".join(str(error).split())[:200]
    fix = "look at the messages of the other processes, and go on with --resume"
    return RankError(f"process {rank()} of {world_size()}", f"lost another process of the job ({reason})", fix=fix)


class _Summed(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: every rank's loss depends on every rank's share."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        _reduce(total, dist.ReduceOp.SUM)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        _reduce(total, dist.ReduceOp.SUM)
        return total
