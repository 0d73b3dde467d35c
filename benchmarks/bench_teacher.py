"""The teacher's update against mmengine's averaged model, for the tensors of Swin-B: host time and whole time.

Host time is that of Swin-B's tensors with one sixteenth of their channels: as many calls, hardly any arithmetic.
Teacher and averaged model are compared before they are timed. In a lock phase the head alone is moved in each step; all
else is made up for once, at its end.

    python benchmarks/bench_teacher.py [--runs 7]
"""

from __future__ import annotations

import functools

import torch
from measuring import heading, in_turns, options, table, times
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from foundationx.models.backbone import Backbone
from foundationx.models.ema_teacher import Teacher

MOMENTUM = 0.8


HEAD = "head.dataset/classification"


class Student(nn.Module):
    """Swin-B with a ``share``-th of its channels, and one head."""

    def __init__(self, share: int):
        super().__init__()
        self.backbone = swin_b(share)
        self.heads = nn.ModuleDict({"dataset__classification": nn.Linear(self.backbone.channels[-1], 14)})

    def forward(self, image: Tensor) -> Tensor:
        """The last stage's map."""
        return self.backbone(image)[-1]


def swin_b(share: int) -> Backbone:
    """Swin-B with a ``share``-th of its channels."""
    heads = (4, 8, 16, 32) if share == 1 else (1, 1, 1, 1)
    sizes = {"embed_dims": 128 // share, "depths": (2, 2, 18, 2), "num_heads": heads, "window_size": 7}
    return Backbone({"type": "mmdet.PublishedSwin", "out_indices": (0, 1, 2, 3), **sizes})


def main() -> None:
    runs = options(__doc__).runs
    heading("Teacher's update (Swin-B)", f"Momentum {MOMENTUM}, parameters and buffers.")
    host, whole = (measured(Student(share), runs) for share in (16, 1))
    slowest = host["mmengine ExponentialMovingAverage"]
    rows = [
        [name, f"{1000 * host[name]:.2f}", times(slowest, host[name]), f"{1000 * whole[name]:.1f}"] for name in host
    ]
    table(["update", "host, ms", "times faster", "with arithmetic, ms"], rows)
    step = release_step(Student(1))
    share = whole["foundationx"] / step
    print(f"A release step of one image of 224 x 224 (student, teacher, backward) takes {1000 * step:.0f} ms;")
    print(f"an update after every step would add {share:.1%} (memory traffic: it does not grow with the batch).\n")


def measured(student: nn.Module, runs: int) -> dict[str, float]:
    """Median seconds of each kind of update."""
    teacher, patient = Teacher(student), Teacher(student)
    averaged = ExponentialMovingAverage(student, momentum=1 - MOMENTUM, update_buffers=True)
    averaged.update_parameters(student)  # the first one copies
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    teacher.update(MOMENTUM)
    averaged.update_parameters(student)
    for ours, theirs in zip(teacher.model.parameters(), averaged.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    followed = list(zip(teacher.model.parameters(), student.parameters(), strict=True))
    applied = torch.tensor(True)
    things = {
        "mmengine ExponentialMovingAverage": lambda: averaged.update_parameters(student),
        "a loop over tensors": lambda: plain_loop(followed),
        "foundationx": lambda: teacher.update(MOMENTUM),
        "foundationx, conditional on a device flag": lambda: teacher.update(MOMENTUM, only_if=applied),
        "foundationx, in a lock phase": lambda: patient.update(MOMENTUM, applied, (HEAD,)),
        "foundationx, deferred update after a lock phase": functools.partial(settle, patient, applied),
    }
    return in_turns(things, runs)


def settle(teacher: Teacher, applied: Tensor) -> None:
    """One update and the end of the lock phase."""
    teacher.update(MOMENTUM, applied, (HEAD,))
    teacher.end_deferral()


@torch.no_grad()
def plain_loop(followed: list) -> None:
    for own, other in followed:
        own.mul_(MOMENTUM).add_(other, alpha=1 - MOMENTUM)


def release_step(student: nn.Module) -> float:
    """Median seconds of forward, teacher and backward."""
    teacher, image = Teacher(student).model, torch.randn(1, 3, 224, 224)

    def step() -> None:
        with torch.no_grad():
            target = teacher(image)
        torch.nn.functional.mse_loss(student(image), target + 1).backward()
        student.zero_grad()

    return in_turns({"step": step}, 3)["step"]


if __name__ == "__main__":
    main()
