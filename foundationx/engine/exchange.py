"""Several ranks: torch's DistributedDataParallel carries the gradients, in buckets, during the backward pass.

It is wrapped anew around the step's losses for each phase, inside the lock, so that it knows the trained parameters
alone. What else must be known before the optimizer's step travels behind the last bucket: which parameters any rank has
used, whether all losses are finite, and the running statistics, which are averaged.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel
from torch.utils import checkpoint as activation_checkpoint

from foundationx.core import distributed
from foundationx.core.types import Batch, StepOutput
from foundationx.engine.schedule.plan import Phase

Losses = Callable[[Batch, Phase, Any], StepOutput]
"""The losses of a batch in a phase, given the output of its trunk if that is known."""

MEGABYTE = 1 << 20


class GradientExchange:
    """Averages gradients over ranks, for one phase.

    A parameter that some ranks have not used counts as 0 there; one that no rank has used keeps no gradient, so that
    the optimizer skips it.

    Three ranks and more add up a number in an order that depends on its place in its bucket. The buckets are therefore
    those of the parameters' order, last ones first, from the first step on; torch's own way is to sort them anew after
    the first step of a process, so that a run that goes on within a phase would round otherwise than one that was never
    stopped.

    Args:
        model: Student, locked as in the phase.
        losses: The step's losses.
        compressed: Send gradients in bf16; the last bucket stays in 32 bits.

    Raises:
        RankError: Another process of the job was lost.
    """

    def __init__(self, model: nn.Module, losses: Losses, compressed: bool = False):
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._statistics = running_statistics(model)
        self._compressed = compressed
        self._losses: list[Tensor] = []
        self._own_use: list[bool] = []
        self._received: Tensor | None = None
        self._flags: dict[tuple[bool, ...], Tensor] = {}
        with (
            warnings.catch_warnings()
        ):  # torch 2.13 has another name for broadcast_buffers, earlier ones do not know it
            warnings.simplefilter("ignore", FutureWarning)
            self._parallel = DistributedDataParallel(
                _StepLosses(self._trained, losses),
                broadcast_buffers=False,
                init_sync=False,
                gradient_as_bucket_view=True,
                bucket_cap_mb=_bucket_size(self._trained, compressed),
            )
        # by a weak reference: torch holds what the hook holds where no garbage collector looks, and with it the
        # buckets of every phase; a lambda, for torch reads the annotations of a hook, and not as text
        self._parallel.register_comm_hook(weakref.ref(self), lambda exchange, bucket: _send_bucket(exchange(), bucket))
        with distributed.noticing_losses():
            self._parallel.reducer._push_all_rebuilt_params()
            self._parallel.reducer._rebuild_buckets()

    def losses(self, batch: Batch, phase: Phase, trunk_output: Any, is_last: bool) -> StepOutput:
        """The losses of a batch.

        Args:
            batch: This rank's share of the batch, on the device.
            phase: Phase of the step.
            trunk_output: Output of the trunk, if it is known.
            is_last: Whether it is the last batch of an optimizer step: its backward pass sends the gradients.
        """
        held_back = contextlib.nullcontext() if is_last else self._parallel.no_sync()
        with held_back, _checkpoints_within_the_graph():
            output: StepOutput = self._parallel(batch, phase, trunk_output)
        self._losses.append(output.loss.detach())
        return output

    @torch.no_grad()
    def finish(self) -> Tensor:
        """Takes over what travelled behind the gradients of an optimizer step.

        Returns:
            A flag () on the device: whether the losses of all ranks were finite.
        """
        received, self._received = self._received, None
        assert received is not None, "no backward pass has sent gradients"
        count = len(self._trained)
        if not all(self._own_use):
            for parameter, own, use in zip(self._trained, self._own_use, received[:count].tolist(), strict=True):
                if not own and not use:
                    parameter.grad = None
        means = received[count + 1 :].split([statistic.numel() for statistic in self._statistics])
        for statistic, mean in zip(self._statistics, means, strict=True):
            statistic.copy_(mean.view_as(statistic))
        self._losses = []
        return received[count] > 1 - 0.5 / distributed.world_size()

    def tail(self, like: Tensor) -> Tensor:
        """What travels behind the last bucket, in its data type: use of parameters, finite losses, statistics."""
        self._own_use = [parameter.grad is not None for parameter in self._trained]
        use = tuple(self._own_use)
        if use not in self._flags:
            self._flags[use] = torch.tensor(use, dtype=like.dtype, device=like.device)
        finite = torch.stack(self._losses).isfinite().all().to(like.dtype).reshape(1)
        return torch.cat([self._flags[use], finite, *(value.reshape(-1).to(like.dtype) for value in self._statistics)])

    def take(self, received: Tensor) -> None:
        """The mean over ranks of what :meth:`tail` gave."""
        self._received = received

    @property
    def is_compressed(self) -> bool:
        """Whether gradients are sent in bf16."""
        return self._compressed


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Buffers that each rank changes in its own way in training: floating ones of modules in training mode.

    Not those that a module keeps equal on all ranks itself (``same_on_all_ranks``).
    """
    return [
        buffer
        for module in model.modules()
        if module.training and not getattr(module, "same_on_all_ranks", False)
        for buffer in module.buffers(recurse=False)
        if buffer.is_floating_point()
    ]


def _bucket_size(trained: list[nn.Parameter], compressed: bool) -> float:
    """Megabytes of a bucket: torch's, but smaller if only buckets before the last one are compressed."""
    total = sum(parameter.numel() * parameter.element_size() for parameter in trained) / MEGABYTE
    return min(25.0, max(1.0, total / 16)) if compressed else 25.0


def _send_bucket(exchange: GradientExchange, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Begins to average a bucket over ranks; torch's hook for the communication of gradients."""
    gradients = bucket.buffer()
    count = gradients.numel()
    if bucket.is_last():
        sent = torch.cat([gradients, exchange.tail(gradients)])
    else:
        sent = gradients.to(torch.bfloat16) if exchange.is_compressed else gradients
    sent.div_(distributed.world_size())
    future = dist.all_reduce(sent, async_op=True).get_future()

    def received(done: torch.futures.Future[list[Tensor]]) -> Tensor:
        (values,) = done.value()
        if bucket.is_last():
            exchange.take(values[count:])
            return values[:count]
        return gradients.copy_(values) if exchange.is_compressed else values

    return future.then(received)


class _StepLosses(nn.Module):
    """A module whose forward is the step's losses; every trained parameter is part of their graph.

    Its parameters are the trained ones, last ones first, as their gradients come.
    """

    def __init__(self, trained: list[nn.Parameter], losses: Losses):
        super().__init__()
        for number, parameter in enumerate(reversed(trained)):
            self.register_parameter(str(number), parameter)
        self._losses = losses

    def forward(self, batch: Batch, phase: Phase, trunk_output: Any) -> StepOutput:
        output = self._losses(batch, phase, trunk_output)
        return replace(output, loss=_WithParameters.apply(output.loss, *self.parameters()))


class _WithParameters(torch.autograd.Function):
    """The loss, as if it used the parameters: their turn comes in every backward pass, with no gradient from here."""

    @staticmethod
    def forward(context: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        context.count = len(parameters)
        return loss.view_as(loss)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (gradient, *(None for _ in range(context.count)))


@contextlib.contextmanager
def _checkpoints_within_the_graph() -> Iterator[None]:
    """Activation checkpointing (``with_cp``) of mmdet, which names no kind, is of the kind that shares the graph."""
    original = activation_checkpoint.checkpoint
    activation_checkpoint.checkpoint = functools.partial(original, use_reentrant=False)
    try:
        yield
    finally:
        activation_checkpoint.checkpoint = original
