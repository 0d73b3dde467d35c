"""Optimizer steps whose loss or gradient is not finite are skipped.

The decision is made on the device: on CUDA the fused optimizer is given a flag and leaves everything as it was if the
flag is set, so the host does not wait. An optimizer that is not fused takes no flag; then the host reads it, which
costs nothing on the CPU and one host sync per step elsewhere. What was skipped is read when the losses are.

There is no going back to an earlier checkpoint: a skipped step changes nothing, so the state is always the last good
one, and going back would only meet the same batches again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foundationx.core import distributed
from foundationx.core.types import Batch, TaskKey
from foundationx.engine.hooks import Incident

LOSS = "the loss is not finite"


@dataclass
class _Update:
    """One optimizer step: step, head and image names of its batches, and whether their losses are finite."""

    trials: list[tuple[int, TaskKey, tuple[str, ...]]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)


class _Store:
    """What buffers of one type were, in one piece: a few calls keep them all or put them back.

    Args:
        buffers: Buffers of one type and device.
    """

    def __init__(self, buffers: list[Tensor]):
        self.buffers = buffers
        self._flat = torch.cat([buffer.flatten() for buffer in buffers])
        self._parts = self._as_buffers(self._flat)

    def _as_buffers(self, flat: Tensor) -> list[Tensor]:
        """Views of a flat tensor in the buffers' shapes."""
        parts = flat.split([buffer.numel() for buffer in self.buffers])
        return [part.view(buffer.shape) for part, buffer in zip(parts, self.buffers, strict=True)]

    def keep(self) -> None:
        """Notes what the buffers are."""
        torch._foreach_copy_(self._parts, self.buffers)

    def put_back(self) -> None:
        """The buffers are what was noted."""
        torch._foreach_copy_(self.buffers, self._parts)

    def put_back_unless(self, applied: Tensor) -> None:
        """The same, if a flag () on the device is false; the host does not look at it."""
        now = torch.cat([buffer.flatten() for buffer in self.buffers])
        torch._foreach_copy_(self.buffers, self._as_buffers(torch.where(applied, now, self._flat)))


class NonFiniteCheck:
    """Carries out optimizer steps, unless a loss or the gradient is not finite.

    Buffers that a forward pass changes (running statistics) go back to what they were before such a step.

    Args:
        model: Model that is trained.
        optimizer: Optimizer of its parameters.
        limit: Number of skipped steps in a row that is too many.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, limit: int):
        self.optimizer = optimizer
        self.limit = limit
        self.in_a_row = 0
        self.longest = 0
        self.fused = all(group.get("fused") for group in optimizer.param_groups)
        # Statistics are floating, their counters have no dimension; tables of indices never change.
        buffers = [b for b in model.buffers() if b.is_floating_point() or b.ndim == 0]
        self._stores = [_Store([b for b in buffers if b.dtype is kind]) for kind in {b.dtype for b in buffers}]
        self._current = _Update()
        self._done: list[tuple[_Update, Tensor]] = []

    def begin(self) -> None:
        """Called before a forward pass: before the first one of an optimizer step, buffers are saved."""
        if not self._current.trials:
            for store in self._stores:
                store.keep()

    def check(self, step: int, batch: Batch, loss: Tensor) -> Tensor:
        """Notes a batch. Returns a flag () on the device: whether its loss () is finite."""
        finite = torch.isfinite(loss.detach())
        self._current.trials.append((step, batch.key, tuple(meta.image for meta in batch.metas)))
        self._current.losses.append(finite)
        return finite

    def undo(self) -> None:
        """Takes a forward pass back that has no step: its changes of buffers."""
        for store in self._stores:
            store.put_back()

    def update(self, gradient_norm: Tensor, finite_elsewhere: Tensor | None = None) -> Tensor:
        """One optimizer step, unless something is not finite.

        Args:
            gradient_norm: Norm () of the gradients, which are the same on all ranks.
            finite_elsewhere: Flag () on the device: whether the losses of all ranks are finite; None with one rank.

        Returns:
            A flag () on the device: whether the step was done.
        """
        current, self._current = self._current, _Update()
        own = torch.stack(current.losses).all() if finite_elsewhere is None else finite_elsewhere
        applied = torch.isfinite(gradient_norm) & own
        self._done.append((current, applied))
        if self.fused:
            inner: Any = getattr(self.optimizer, "optim", self.optimizer)  # sharded: the one of this rank's share
            inner.found_inf = (~applied).float()
            self.optimizer.step()
            for store in self._stores:
                store.put_back_unless(applied)
        elif applied:
            self.optimizer.step()
        else:
            self.undo()
        return applied

    def read(self) -> list[Incident]:
        """Steps that were skipped since the last reading. The host waits for the device once."""
        done, self._done = self._done, []
        if not done:
            return []
        flags = torch.cat([torch.stack([*update.losses, applied]) for update, applied in done]).tolist()
        incidents, applied_flags = [], []
        for update, _ in done:
            *finite, was_applied = flags[: len(update.losses) + 1]
            del flags[: len(update.losses) + 1]
            applied_flags.append(was_applied)
            self.in_a_row = 0 if was_applied else self.in_a_row + 1
            self.longest = max(self.longest, self.in_a_row)
            if not was_applied:
                incidents += _incidents(update, finite)
        all_applied = all(applied_flags)  # the same on all ranks
        return [] if all_applied else _of_all_ranks(distributed.all_gather_object(incidents))

    @property
    def is_between_updates(self) -> bool:
        """Whether no gradient is half accumulated."""
        return not self._current.trials

    @property
    def is_too_much(self) -> bool:
        """Whether too many optimizer steps in a row were skipped."""
        return self.longest >= self.limit

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; everything must have been read before."""
        return {"in_a_row": self.in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.in_a_row = self.longest = int(state["in_a_row"])


def _of_all_ranks(incidents: list[list[Incident]]) -> list[Incident]:
    """Incidents of all ranks; if one rank's loss is not finite, the others' gradients are not to blame."""
    together = [incident for of_rank in incidents for incident in of_rank]
    by_loss = {incident.step for incident in together if incident.message.startswith(LOSS)}
    return [entry for entry in together if entry.message.startswith(LOSS) or entry.step not in by_loss]


def _incidents(update: _Update, finite: list[bool]) -> list[Incident]:
    """One for each batch whose loss is not finite; for every batch of the step if it is the gradient alone."""
    gradient_alone = all(finite)
    fault = "the gradient is not finite" if gradient_alone else LOSS
    return [
        Incident(
            step=step,
            kind="nonfinite",
            dataset=key.dataset,
            task=key.task.value,
            message=f"{fault}: optimizer step skipped",
            images=images,
        )
        for (step, key, images), is_finite in zip(update.trials, finite, strict=True)
        if gradient_alone or not is_finite
    ]
