"""Ties the student to its teacher at one named point of each task.

See ``docs/methods/foundation_x.md``, "2.4 Consistency loss".

    classification   the pooled (and projected) feature (B, D)
    detection        the encoder's memory (B, N, D), aligned by token: no selection comes before it
    segmentation     the shared decoder's output (B, C, h, w), each pixel's vector scaled to length 1

The first two come out of a layer normalisation; nothing bounds the scale of the third, hence the scaling (as
published).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from foundationx.core import distributed


def consistency_point(trunk_output: Any) -> Tensor:
    """The tensor of a trunk's output at which student and teacher are compared."""
    point = trunk_output if isinstance(trunk_output, Tensor) else trunk_output.memory
    return F.normalize(point.float(), dim=1) if point.dim() == 4 else point.float()


def consistency_loss(student: Any, teacher: Any) -> Tensor:
    """Mean squared error between the student's and the teacher's point; the teacher's point carries no gradient."""
    point = consistency_point(student)
    share = distributed.batch_share(len(point), point.device, "images")
    return F.mse_loss(point, consistency_point(teacher).detach()) * share
