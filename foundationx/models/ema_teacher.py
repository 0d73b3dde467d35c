"""The teacher: a copy of the student that follows it by exponential moving average (EMA)."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_of_names


class _TensorPairs(NamedTuple):
    """Tensors of the teacher and those of the student that they follow: floating ones (averaged), others (copied)."""

    own: list[Tensor]
    student: list[Tensor]
    own_others: list[Tensor]
    student_others: list[Tensor]


@dataclass
class _Deferred:
    """Updates of frozen tensors that have not been carried out yet.

    Attributes:
        trained: Parameter groups that are trained; the tensors of all others are frozen.
        product: Product of the momenta of all deferred updates, (), on the device.
        start: Values of the frozen tensors before the first deferred update; None as long as they still have them.
        is_flushed: Whether the frozen tensors have had all updates.
    """

    trained: frozenset[str]
    product: Tensor
    start: list[Tensor] | None = None
    is_flushed: bool = True


class Teacher(nn.Module):
    """m * teacher + (1 - m) * student over parameters **and** buffers; never trained, always in evaluation mode.

    Floating-point buffers (running statistics) are averaged, others (counters, indices) copied. The lists of tensors
    are made once; an update is a few foreach calls.

    While a part of the student is frozen, updates of the same part of the teacher t towards the frozen s can be
    deferred: after momenta m1 ... mk it is s + m1 * ... * mk * (t - s). :meth:`flush` carries them out; it makes no
    difference, to the last bit, how often it is called.

    Args:
        student: Model to follow. The teacher starts as its exact copy.

    Attributes:
        model: The teacher's network. Call :meth:`flush` before using it if updates may have been deferred.
    """

    def __init__(self, student: FoundationModel):
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False).eval()
        followed = _tensors(student)
        self._pairs = {name: (own.detach(), followed[name].detach()) for name, own in _tensors(self.model).items()}
        self._everything = _as_lists(self._pairs.values())
        self._splits: dict[frozenset[str], tuple[_TensorPairs, _TensorPairs]] = {}
        self._deferred: _Deferred | None = None

    @torch.no_grad()
    def update(self, momentum: float, only_if: Tensor | None = None, trained: Collection[str] | None = None) -> None:
        """Moves the teacher towards the student.

        Args:
            momentum: Weight m of the teacher, in [0, 1].
            only_if: Flag () on the device; the teacher stays as it is if it is false.
            trained: Parameter groups in which alone the student has changed since the last update; updates of all
                others are deferred. None updates everything now.
        """
        if trained is None:
            self.end_deferral()
            _move(self._everything, 1.0 - momentum, only_if)
            return
        trained = frozenset(trained)
        if self._deferred is None or self._deferred.trained != trained:
            self.end_deferral()
            device = self._everything.own[0].device
            self._deferred = _Deferred(trained, torch.ones((), dtype=torch.float64, device=device))
        _move(self._split(trained)[0], 1.0 - momentum, only_if)
        product = self._deferred.product * momentum
        self._deferred.product = product if only_if is None else torch.where(only_if, product, self._deferred.product)
        self._deferred.is_flushed = False

    def flush(self) -> None:
        """Carries out all deferred updates; later ones may be deferred again."""
        self._flush(keep_start=True)

    def end_deferral(self) -> None:
        """Carries out all deferred updates for good: to be called before frozen parts of the student change."""
        self._flush(keep_start=False)
        self._deferred = None

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint needs beside ``model``, so that updates are deferred as if it had not been written."""
        self.flush()
        if self._deferred is None:
            return None
        return {
            "trained": sorted(self._deferred.trained),
            "product": self._deferred.product,
            "start": self._deferred.start,
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Takes over :meth:`state`; ``model`` has its weights already."""
        self._deferred = None
        if state is not None:
            device = self._everything.own[0].device
            start = [tensor.to(device) for tensor in state["start"]]
            self._deferred = _Deferred(frozenset(state["trained"]), state["product"].to(device), start)

    @torch.no_grad()
    def _flush(self, keep_start: bool) -> None:
        """Recomputes the frozen tensors from their values before the first deferred update.

        Args:
            keep_start: Keep those values, for further deferred updates.
        """
        deferred = self._deferred
        if deferred is None or deferred.is_flushed:
            return
        frozen = self._split(deferred.trained)[1]
        if deferred.start is not None:
            torch._foreach_copy_(frozen.own, deferred.start)
        elif keep_start:
            deferred.start = [tensor.clone() for tensor in frozen.own]
        _move(frozen, 1.0 - deferred.product, None)
        deferred.is_flushed = True

    def _split(self, trained: frozenset[str]) -> tuple[_TensorPairs, _TensorPairs]:
        """Tensors of these parameter groups, and all others."""
        if trained not in self._splits:
            groups = group_of_names(self.model, self._pairs)
            self._splits[trained] = (
                _as_lists(pair for name, pair in self._pairs.items() if groups[name] in trained),
                _as_lists(pair for name, pair in self._pairs.items() if groups[name] not in trained),
            )
        return self._splits[trained]

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode whatever is asked."""
        return super().train(False)


def _move(pairs: _TensorPairs, weight: float | Tensor, only_if: Tensor | None) -> None:
    """own + weight * (student - own) of floating tensors; others are copied, whatever the value of ``only_if``."""
    if only_if is not None:
        weight = torch.where(only_if, weight, 0.0)
    if isinstance(weight, float):
        torch._foreach_lerp_(pairs.own, pairs.student, weight)
    else:
        step = _step_in_groups if weight.is_cuda else _step_by_tensor
        step(pairs.own, pairs.student, weight)
    if pairs.own_others:
        torch._foreach_copy_(pairs.own_others, pairs.student_others)


def _step_by_tensor(teacher: list[Tensor], student: list[Tensor], weight: Tensor) -> None:
    """Moves every teacher tensor by ``weight`` (), held on the device: a loop, but not one in Python."""
    weights = {dtype: weight.to(dtype) for dtype in {tensor.dtype for tensor in teacher}}
    torch._foreach_lerp_(teacher, student, [weights[tensor.dtype] for tensor in teacher])


def _step_in_groups(teacher: list[Tensor], student: list[Tensor], weight: Tensor) -> None:
    """As :func:`_step_by_tensor` to rounding, in a few launches: CUDA has no grouped lerp by a weight on the device."""
    differences = torch._foreach_sub(student, teacher)
    torch._foreach_mul_(differences, weight.float())
    torch._foreach_add_(teacher, differences)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _as_lists(pairs: Iterable[tuple[Tensor, Tensor]]) -> _TensorPairs:
    """Pairs of a teacher's and a student's tensor, floating ones apart from others."""
    lists = _TensorPairs([], [], [], [])
    for own, student in pairs:
        if own.is_floating_point():
            lists.own.append(own)
            lists.student.append(student)
        else:
            lists.own_others.append(own)
            lists.student_others.append(student)
    return lists
