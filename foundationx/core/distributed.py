"""Data-parallel training: several processes (ranks) train one model, each on its share of every batch.

Without a launcher there is one rank and nothing is communicated: the same code runs, bit for bit. Launchers are
``torchrun`` (and whatever else sets its variables) and Slurm's ``srun``. Tensors on the CPU are sent by gloo, those on
CUDA by NCCL. A rank is a process that has joined the group: no environment variable alone makes one.

Every function that communicates is called by all ranks in the same order.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from foundationx.core.errors import FoundationXError

TIMEOUT = datetime.timedelta(hours=6)
"""How long a message waits for the other ranks. A launcher notices a rank that ends at once."""

NAMED_AFTER, GIVEN_UP_AFTER = 60.0, 600.0
"""Seconds after which missing processes of the job are named, and after which they are no longer waited for."""


WATCH = "watch the launcher"
"""Name of the thread that does."""


class RankError(FoundationXError):
    """Another process of the job has failed or cannot be reached."""


@dataclass(frozen=True)
class Place:
    """What a launcher says of this process.

    Attributes:
        launcher: ``torchrun`` or ``Slurm``.
        rank: Number of the process, from 0.
        size: Number of processes.
        address: Host at which they meet.
        port: Port there.
    """

    launcher: str
    rank: int
    size: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"process {self.rank} of {self.size} ({self.launcher})"


_last_rank = 0  # of the group that this process has joined last


_is_joining = False  # whether this process waits for the group to form
_is_alone = False  # whether this rank computes for itself for a while


def world_size() -> int:
    """Number of ranks."""
    if _is_alone:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this rank, from 0.

    A process that has joined no group is the first of one, whatever variables a launcher has set or left over.
    """
    return dist.get_rank() if world_size() > 1 else 0


def is_main_process() -> bool:
    """Whether this is the rank that writes files and prints; after the group has ended, whether it was."""
    return (dist.get_rank() if dist.is_available() and dist.is_initialized() else _last_rank) == 0


def local_rank() -> int:
    """Number of this rank on its machine, which is the number of its CUDA device."""
    return _number("LOCAL_RANK", _number("SLURM_LOCALID", 0))


@contextlib.contextmanager
def init_process_group() -> Iterator[None]:
    """Joins the process group of the launcher's job and leaves it at the end; without a launcher there is none.

    Raises:
        RankError: Other processes of the job have not come.
    """
    global _is_joining, _last_rank
    if world_size() > 1:  # whoever runs us has joined: Ray Train, a Runner
        yield
        return
    _last_rank = 0
    place = _place()
    _end_with_launcher()
    if place is None:
        _print_if_alone()
        yield
        return
    _is_joining = True
    _join(place)
    _is_joining, _last_rank = False, place.rank
    try:
        yield
    finally:
        gc.collect()  # what is still in a cycle holds the group, whose threads would outlive it
        dist.destroy_process_group()


def _place() -> Place | None:
    """This process's place in the group that it will join; None if it trains alone."""
    size, number = _number("WORLD_SIZE", 1), _number("RANK", -1)
    address = os.environ.get("MASTER_ADDR", "").strip()
    if size > 1 and number >= 0 and address:
        return Place("torchrun", number, size, address, _number("MASTER_PORT", 29500))
    size, number = _slurm_tasks(), _number("SLURM_PROCID", -1)
    address = address or first_host(os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", ""))
    if size > 1 and number >= 0 and address:
        job = 31 * _number("SLURM_JOB_ID", 0) + _number("SLURM_STEP_ID", 0)
        return Place("Slurm", number, size, address, _number("MASTER_PORT", 20000 + job % 20000))
    return None


def _slurm_tasks() -> int:
    """Tasks of the step of ``srun`` that this process belongs to; 1 in a batch script, whatever its job asks for."""
    is_batch_script = _number("SLURM_JOB_ID", 0) > 0 and not os.environ.get("SLURM_STEP_NODELIST")
    return _number("SLURM_STEP_NUM_TASKS", 1 if is_batch_script else _number("SLURM_NTASKS", 1))


def first_host(nodes: str) -> str:
    """The first host of a list as Slurm writes it, such as ``gpu[07-09,12],login1``."""
    return re.sub(r"\[(\w+).*", r"\1", nodes.partition(",")[0].strip())


def _print_if_alone() -> None:
    """Names variables of a launcher that this process does not follow: it is the first process of one."""
    others = [f"{name}={os.environ[name]}" for name in ("RANK", "SLURM_PROCID") if _number(name, 0) > 0]
    others += [f"{name}={os.environ[name]}" for name in ("WORLD_SIZE", "SLURM_NTASKS") if _number(name, 1) > 1]
    if others:
        print(f"{', '.join(others)} is set, but there is no group to join: this process trains alone", flush=True)


def _join(place: Place) -> None:
    """Joins the group. Raises RankError."""
    # Functions of these keep the group that they find when they are imported, as DDP and a sharded optimizer do. Its
    # threads would outlive it, and one that lets go of a tensor while Python ends aborts the process.
    import torch.distributed.nn
    import torch.distributed.optim

    store = _open_store(place)
    wait_for_all(store, place)
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store.set_timeout(TIMEOUT)
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT)


def _open_store(place: Place) -> Store:
    """The store at which the processes meet: that of torchrun, or one that the first process opens.

    torchrun's store outlives the ranks that it starts again, so each attempt has names of its own: else a rank reads
    the addresses of those that have died.
    """
    attempt = f"foundationx/attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    is_first = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    begun = time.monotonic()
    while True:
        try:
            store = TCPStore(
                place.address,
                place.port,
                place.size,
                is_first,
                timeout=datetime.timedelta(seconds=NAMED_AFTER),
                wait_for_workers=False,
            )
            return PrefixStore(attempt, store)
        except RuntimeError as error:
            where = f"{place.address}:{place.port}"
            if is_first:
                found = f"cannot listen at {where}: {' '.join(str(error).split())[:200]}"
                raise RankError(str(place), found, "a free port", "set MASTER_PORT to another one") from error
            _still_missing(place, f"process 0 ({where})", time.monotonic() - begun)


def wait_for_all(store: Store, place: Place) -> None:
    """Returns when every process of the job has come to the store; missing ones are named on the way.

    Raises:
        RankError: Some have not come.
    """
    store.set(f"foundationx/{place.rank}", "here")
    missing = list(range(place.size))
    begun, next_line = time.monotonic(), min(5.0, NAMED_AFTER)
    while missing := [number for number in missing if not store.check([f"foundationx/{number}"])]:
        waited = time.monotonic() - begun
        if waited >= next_line:
            next_line = NAMED_AFTER * (1 + waited // NAMED_AFTER)
            _still_missing(place, f"process {', '.join(map(str, missing))}", waited)
        time.sleep(0.1)


def _still_missing(place: Place, missing: str, waited: float) -> None:
    """Names processes that have not come. Raises RankError if it is too late."""
    if waited >= GIVEN_UP_AFTER:
        found = f"{missing} has not come within {waited / 60:.0f} minutes"
        variables = "RANK and WORLD_SIZE" if place.launcher == "torchrun" else "SLURM_NTASKS and SLURM_STEP_NUM_TASKS"
        fix = f"start all processes of the job at the same time; for a process of its own unset {variables}"
        raise RankError(str(place), found, f"{place.size} processes", fix)
    where = f"{place.address}:{place.port}"
    print(f"{place} has waited {waited:.0f} s at {where} for {missing}", flush=True)


def _end_with_launcher() -> None:
    """Stops this process as SIGTERM does when torchrun has died: whoever starts it again finds no process left.

    While it joins, and if it has not stopped after ten minutes, it ends at once: torch's waiting hears no signal.
    """
    names = {thread.name for thread in threading.enumerate()}
    if "TORCHELASTIC_RUN_ID" not in os.environ or WATCH in names:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if not _is_joining:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GIVEN_UP_AFTER)
        os._exit(1)

    threading.Thread(target=watch, name=WATCH, daemon=True).start()


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


_ahead: Callable[[], Mapping[str, float]] | None = None  # gives the totals of this step; waits for them


@contextlib.contextmanager
def known_totals(wait: Callable[[], Mapping[str, float]]) -> Iterator[None]:
    """Inside, :func:`mean_count` takes totals over ranks that were sent ahead.

    Args:
        wait: Gives the totals by name, when they have come; it may raise. It is called before any other message.
    """
    global _ahead
    _ahead = wait
    try:
        yield
    finally:
        _ahead = None


@contextlib.contextmanager
def no_known_totals() -> Iterator[None]:
    """Inside :func:`known_totals`: what is counted here was not sent ahead, whatever its name."""
    global _ahead
    before, _ahead = _ahead, None
    try:
        yield
    finally:
        _ahead = before


def mean_count(number: Tensor, name: str | None = None) -> Tensor:
    """Number of entries per rank: their sum over all ranks, at least 1, divided by the number of ranks.

    A loss that each rank divides by this is, averaged over ranks, the mean over all entries: as if one process had
    computed the complete batch.

    Args:
        number: Entries of this rank, ().
        name: Name under which the head has counted the same entries ahead (``Head.counts``); without one, or if it
            has not, a message of its own is sent.
    """
    if world_size() == 1:
        return number.clamp(min=1)
    if name is not None and _ahead is not None and name in (totals := _ahead()):
        return number.new_full((), max(1.0, totals[name]) / world_size(), dtype=torch.float32)
    total = number.to(torch.float32)
    _reduce(total, dist.ReduceOp.SUM)
    return total.clamp(min=1) / world_size()


def batch_share(images: int, device: torch.device, name: str | None = None) -> Tensor | float:
    """Factor on the mean over this rank's images that makes the mean over ranks the mean over all images.

    Args:
        images: Number of images of this rank.
        device: Device of the factor.
        name: As of :func:`mean_count`.
    """
    if world_size() == 1:
        return 1.0
    return images / mean_count(torch.tensor(float(images), device=device), name)


def all_reduce_sum(*values: Tensor) -> tuple[Tensor, ...]:
    """The sums over ranks of any tensors, in one message.

    Differentiable if whatever is computed from them is the same on all ranks, as a loss of all images is: the values
    of each rank then receive the gradient of the mean over ranks without another message.
    """
    if world_size() == 1:
        return values
    packed = _Summed.apply(torch.cat([value.reshape(-1).float() for value in values]))
    parts = packed.split([value.numel() for value in values])
    return tuple(part.view_as(value).to(value.dtype) for part, value in zip(parts, values, strict=True))


def start_sum(values: Tensor) -> Callable[[], Tensor]:
    """Begins to add values over ranks; the function returned waits for the sums.

    Args:
        values: Values on the host, (N,).
    """
    try:
        work = dist.all_reduce(values, async_op=True)
    except RuntimeError as error:
        raise _lost(error) from error

    def wait() -> Tensor:
        try:
            work.wait()
        except RuntimeError as error:
            raise _lost(error) from error
        return values

    return wait


@contextlib.contextmanager
def noticing_losses() -> Iterator[None]:
    """Errors of a message that another part of torch has sent become ours.

    Raises:
        RankError: Another process of the job was lost.
    """
    try:
        yield
    except RuntimeError as error:
        words = ("gloo", "NCCL", "ProcessGroup", "Connection", "connection", "c10d")
        if world_size() > 1 and any(word in str(error) for word in words):
            raise _lost(error) from error
        raise


def all_gather_object(value: Any) -> list[Any]:
    """The value of each rank, in order. For small objects: they are pickled."""
    if world_size() == 1:
        return [value]
    if _ahead is not None:
        _ahead()
    values: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        raise _lost(error) from error
    return values


def gather_object(value: Any, to: int) -> list[Any]:
    """The value of each rank, in order, on one of them; nothing on the others.

    Args:
        value: Anything that can be pickled.
        to: Rank that is given the values.
    """
    if world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * world_size() if rank() == to else None
    try:
        dist.gather_object(value, values, dst=to)
    except RuntimeError as error:
        raise _lost(error) from error
    return values or []


def from_main(value: Any) -> Any:
    """The value of the first rank, on all of them; nobody goes on before it has one."""
    return all_gather_object(value if is_main_process() else None)[0]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, this rank computes for itself: nothing is communicated, as if it were the only one."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def _reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    if _ahead is not None:
        _ahead()
    try:
        dist.all_reduce(tensor, operation)
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: RuntimeError) -> RankError:
    reason = " ".join(str(error).split())[:200]
    fix = "look at the messages of the other processes, then start the same command again: it goes on"
    return RankError(f"process {rank()} of {world_size()}", f"lost another process of the job ({reason})", fix=fix)


class _Summed(torch.autograd.Function):
    """All-reduce whose gradient is that of a result which is the same on all ranks."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        _reduce(total, dist.ReduceOp.SUM)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * world_size()
