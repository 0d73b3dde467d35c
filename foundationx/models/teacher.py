"""The teacher: a copy of the student that follows it by exponential moving average."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """m * teacher + (1 - m) * student over parameters **and** buffers; never trained, always in evaluation mode.

    Floating-point buffers (running statistics) are averaged, others (counters, indices) copied. The lists of tensors
    are made once; an update is a few foreach calls.

    Args:
        student: the model to follow. The teacher starts as its exact copy.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False).eval()
        self._pairs = _tensor_pairs(self.model, student)

    @torch.no_grad()
    def update(self, momentum: float, only_if: Tensor | None = None) -> None:
        """Moves the teacher towards the student; ``momentum`` m in [0, 1].

        Where ``only_if`` () is given and false it stays as it is; that is decided on the device.
        """
        teacher_floats, student_floats, teacher_others, student_others = self._pairs
        if only_if is None:
            torch._foreach_lerp_(teacher_floats, student_floats, 1.0 - momentum)
        else:
            weight = torch.where(only_if, 1.0 - momentum, 0.0)
            step = _step_in_groups if weight.is_cuda else _step_by_tensor
            step(teacher_floats, student_floats, weight)
        if teacher_others:
            torch._foreach_copy_(teacher_others, student_others)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode whatever is asked."""
        return super().train(False)


def _step_by_tensor(teacher: list[Tensor], student: list[Tensor], weight: Tensor) -> None:
    """Moves every teacher tensor by ``weight`` (), held on the device: a loop, but not one in Python."""
    weights = {dtype: weight.to(dtype) for dtype in {tensor.dtype for tensor in teacher}}
    torch._foreach_lerp_(teacher, student, [weights[tensor.dtype] for tensor in teacher])


def _step_in_groups(teacher: list[Tensor], student: list[Tensor], weight: Tensor) -> None:
    """As :func:`_step_by_tensor` to rounding, in a few launches: CUDA has no grouped lerp by a weight on the device."""
    differences = torch._foreach_sub(student, teacher)
    torch._foreach_mul_(differences, weight)
    torch._foreach_add_(teacher, differences)


def _tensor_pairs(teacher: nn.Module, student: nn.Module) -> tuple[list[Tensor], ...]:
    """Floating tensors and other tensors of both models, in the same order."""
    lists: tuple[list[Tensor], ...] = ([], [], [], [])
    followed = dict(student.named_parameters()) | dict(student.named_buffers())
    for name, own in (dict(teacher.named_parameters()) | dict(teacher.named_buffers())).items():
        place = 0 if own.is_floating_point() else 2
        lists[place].append(own.detach())
        lists[place + 1].append(followed[name].detach())
    return lists
