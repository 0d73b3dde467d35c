"""Data-parallel training: several processes (ranks) train one model, each on its share of every batch.

Without a launcher there is one rank and nothing is communicated: the same code runs, bit for bit. Launchers are
``torchrun`` and Slurm (through mmengine). Tensors on the CPU are sent by gloo, those on CUDA by NCCL.

Every function that communicates is called by all ranks in the same order.
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

TIMEOUT = datetime.timedelta(hours=6)
"""How long ranks wait for the main process, which evaluates. A launcher notices a rank that ends at once."""


class RankError(FoundationXError):
    """Another process of the job has failed or cannot be reached."""


def world_size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this rank, from 0.

    Outside of :func:`init_process_group` it is that of the launcher's environment if this process will join a group.
    A process that joins none is the first of one, whatever variables are left over from another launcher.
    """
    if world_size() > 1:
        return dist.get_rank()
    launcher = _launcher()
    return 0 if launcher is None else _number({"pytorch": "RANK", "slurm": "SLURM_PROCID"}[launcher], 0)


def is_main_process() -> bool:
    """Whether this is the rank that writes files, evaluates and prints."""
    return rank() == 0


def local_rank() -> int:
    """Number of this rank on its machine, which is the number of its CUDA device."""
    return _number("LOCAL_RANK", 0)


@contextlib.contextmanager
def init_process_group() -> Iterator[None]:
    """Joins the process group of the launcher's job and leaves it at the end; without a launcher there is none."""
    launcher = _launcher()
    if launcher is None and world_size() == 1:
        _say_if_alone()
    if launcher is None or world_size() > 1:
        yield
        return
    if torch.cuda.is_available():
        from foundationx.core.openmmlab import init_dist

        init_dist(launcher, backend="cpu:gloo,cuda:nccl", timeout=TIMEOUT.total_seconds())
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _launcher() -> str | None:
    """The launcher whose group this process will join; None if it trains alone."""
    if _number("WORLD_SIZE", 1) > 1 and _number("RANK", -1) >= 0:
        return "pytorch"
    if _number("SLURM_NTASKS", 1) > 1 and _number("SLURM_PROCID", -1) >= 0 and torch.cuda.is_available():
        return "slurm"
    return None


def _say_if_alone() -> None:
    """Names variables of a launcher that this process does not follow: it is the first process of one."""
    others = [f"{name}={os.environ[name]}" for name in ("RANK", "SLURM_PROCID") if _number(name, 0) > 0]
    if others:
        print(f"{', '.join(others)} is set, but there is no group to join: this process trains alone", flush=True)


def _number(variable: str, default: int) -> int:
    """An environment variable as a number; the default if it is not set or empty.

    Raises:
        RankError: It is something else.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError as error:
        fix = f"unset {variable}, or start the command by a launcher that sets it"
        raise RankError(f"environment variable {variable}", f"is {text!r}", "a number", fix) from error


def mean_count(number: Tensor) -> Tensor:
    """Number of entries per rank: their sum over all ranks, at least 1, divided by the number of ranks.

    A loss that each rank divides by this is, averaged over ranks, the mean over all entries: as if one process had
    computed the complete batch.

    Args:
        number: Entries of this rank, ().
    """
    if world_size() == 1:
        return number.clamp(min=1)
    total = number.to(torch.float32)
    _reduce(total, dist.ReduceOp.SUM)
    return total.clamp(min=1) / world_size()


def batch_share(images: int, device: torch.device) -> Tensor | float:
    """Factor on the mean over this rank's images that makes the mean over ranks the mean over all images.

    Args:
        images: Number of images of this rank.
        device: Device of the factor.
    """
    if world_size() == 1:
        return 1.0
    return images / mean_count(torch.tensor(float(images), device=device))


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over ranks, differentiable: the values of each rank receive their gradient."""
    return values if world_size() == 1 else _Summed.apply(values)


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Averages tensors over ranks in place, with one message per data type."""
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
    """Averages gradients over ranks; a parameter without gradient on some ranks counts as 0 there.

    A parameter without gradient on every rank keeps none, so that the optimizer skips it.
    """
    if world_size() == 1:
        return
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    _reduce(used, dist.ReduceOp.MAX)
    shared = [parameter for parameter, is_used in zip(parameters, used.tolist(), strict=True) if is_used]
    for parameter in shared:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_mean_([parameter.grad for parameter in shared if parameter.grad is not None])


def all_reduce_all_on_device(flag: Tensor) -> Tensor:
    """Whether a flag () is true on all ranks; without a host-device sync."""
    if world_size() == 1:
        return flag
    value = flag.to(torch.float32)
    _reduce(value, dist.ReduceOp.MIN)
    return value > 0


def all_reduce_any_on_device(flags: Tensor) -> Tensor:
    """Which flags are true on any rank; without a host-device sync."""
    if world_size() == 1:
        return flags
    values = flags.to(torch.float32)
    _reduce(values, dist.ReduceOp.MAX)
    return values > 0


def all_reduce_any_on_host(*flags: bool) -> tuple[bool, ...]:
    """Which flags of the host are true on any rank."""
    if world_size() == 1:
        return flags
    values = torch.tensor(flags, dtype=torch.uint8)
    _reduce(values, dist.ReduceOp.MAX)
    return tuple(map(bool, values.tolist()))


def all_gather_object(value: Any) -> list[Any]:
    """The value of each rank, in order. For small objects: they are pickled."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise _lost(error) from error
    return values


def _reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    try:
        dist.all_reduce(tensor, operation)
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: RuntimeError) -> RankError:
    reason = " ".join(str(error).split())[:200]
    fix = "look at the messages of the other processes, then continue with --resume"
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
