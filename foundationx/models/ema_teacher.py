"""The teacher: a copy of the student that follows it by exponential moving average."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from foundationx.models.parameter_groups import scope_of_names


class _Followed(NamedTuple):
    """Tensors of the teacher beside those of the student that they follow: floating ones and others."""

    own: list[Tensor]
    student: list[Tensor]
    own_others: list[Tensor]
    student_others: list[Tensor]


@dataclass
class _Owed:
    """Updates that tensors of resting scopes have not had yet.

    Attributes:
        scopes: names of those that are not at rest.
        product: () of the momenta of all updates owed, on the device.
        start: what the resting tensors were before the first of them; None as long as they still are.
        is_paid: the tensors have had all of them.
    """

    scopes: frozenset[str]
    product: Tensor
    start: list[Tensor] | None = None
    is_paid: bool = True


class Teacher(nn.Module):
    """m * teacher + (1 - m) * student over parameters **and** buffers; never trained, always in evaluation mode.

    Floating-point buffers (running statistics) are averaged, others (counters, indices) copied. The lists of tensors
    are made once; an update is a few foreach calls.

    While a part of the student rests, updates of the same part of the teacher t towards the resting s can wait: after
    momenta m1 ... mk it is s + m1 * ... * mk * (t - s). They are made up for when ``model`` is asked for. What it was
    before is then kept until ``settle``, so that it makes no difference, to the last bit, how often it was asked for.

    Args:
        student: the model to follow. The teacher starts as its exact copy.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self._model = copy.deepcopy(student).requires_grad_(False).eval()
        followed = _tensors(student)
        self._pairs = {name: (own.detach(), followed[name].detach()) for name, own in _tensors(self._model).items()}
        self._everything = _lists(self._pairs.values())
        self._parts: dict[frozenset[str], tuple[_Followed, _Followed]] = {}
        self._owed: _Owed | None = None

    @property
    def model(self) -> nn.Module:
        """The teacher itself, with every update made."""
        self._pay(keep=True)
        return self._model

    @torch.no_grad()
    def update(self, momentum: float, only_if: Tensor | None = None, scopes: Collection[str] | None = None) -> None:
        """Moves the teacher towards the student; ``momentum`` m in [0, 1].

        Where ``only_if`` () is given and false it stays as it is; that is decided on the device. Where ``scopes`` are
        given the student has changed in them alone since the last update, and all else waits.
        """
        if scopes is None:
            self.settle()
            _move(self._everything, 1.0 - momentum, only_if)
            return
        at_work = frozenset(scopes)
        if self._owed is None or self._owed.scopes != at_work:
            self.settle()
            device = self._everything.own[0].device
            self._owed = _Owed(at_work, torch.ones((), dtype=torch.float64, device=device))
        _move(self._parted(at_work)[0], 1.0 - momentum, only_if)
        shrunk = self._owed.product * momentum
        self._owed.product = shrunk if only_if is None else torch.where(only_if, shrunk, self._owed.product)
        self._owed.is_paid = False

    def settle(self) -> None:
        """Makes up for updates that have waited. The student may change everywhere afterwards."""
        self._pay(keep=False)
        self._owed = None

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint needs beside ``model`` so that updates wait on as if it had not been written."""
        self._pay(keep=True)
        owed = self._owed
        return owed and {"scopes": sorted(owed.scopes), "product": owed.product, "start": owed.start}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Goes on from a checkpoint; ``model`` has its weights already."""
        self._owed = None
        if state is not None:
            device = self._everything.own[0].device
            start = [tensor.to(device) for tensor in state["start"]]
            self._owed = _Owed(frozenset(state["scopes"]), state["product"].to(device), start)

    @torch.no_grad()
    def _pay(self, keep: bool) -> None:
        """Brings resting tensors to where they would be; ``keep``: what they were before stays in memory."""
        owed = self._owed
        if owed is None or owed.is_paid:
            return
        resting = self._parted(owed.scopes)[1]
        if owed.start is not None:
            torch._foreach_copy_(resting.own, owed.start)
        elif keep:
            owed.start = [tensor.clone() for tensor in resting.own]
        _move(resting, 1.0 - owed.product, None)
        owed.is_paid = True

    def _parted(self, at_work: frozenset[str]) -> tuple[_Followed, _Followed]:
        """Tensors of these scopes, and all others."""
        if at_work not in self._parts:
            scopes = scope_of_names(self._model, self._pairs)
            sides = (
                [pair for name, pair in self._pairs.items() if (scopes[name] in at_work) == side] for side in (1, 0)
            )
            self._parts[at_work] = tuple(map(_lists, sides))
        return self._parts[at_work]

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode whatever is asked."""
        return super().train(False)


def _move(followed: _Followed, weight: float | Tensor, only_if: Tensor | None) -> None:
    """own + weight * (student - own) of floating tensors; others are copied, whatever ``only_if`` says."""
    if only_if is not None:
        weight = torch.where(only_if, weight, 0.0)
    if isinstance(weight, float):
        torch._foreach_lerp_(followed.own, followed.student, weight)
    else:
        step = _step_in_groups if weight.is_cuda else _step_by_tensor
        step(followed.own, followed.student, weight)
    if followed.own_others:
        torch._foreach_copy_(followed.own_others, followed.student_others)


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


def _lists(pairs: Iterable[tuple[Tensor, Tensor]]) -> _Followed:
    """Pairs of teacher's and student's tensors, floating ones apart from others."""
    found = _Followed([], [], [], [])
    for own, student in pairs:
        place = 0 if own.is_floating_point() else 2
        found[place].append(own)
        found[place + 1].append(student)
    return found
