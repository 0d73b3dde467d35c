"""PEAC: two overlapping crops agree, globally and position by position; blocks are put in order and pixels restored.

``docs/methods/self_supervision.md``, "3 PEAC". Crops lie on one lattice of cells, so that a token of one shows exactly
what a token of the other does.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from foundationx.core.geometry.boxes import nearest
from foundationx.core.geometry.samplers import lay_lattice, middle_square
from foundationx.core.geometry.views import CELL, TrainingProgress, View, identity_order
from foundationx.tasks.self_supervision.objective import (
    Objective,
    ObjectiveBatch,
    ObjectiveOptions,
    ObjectiveOutput,
    Tokens,
)
from foundationx.tasks.self_supervision.parts.heads import PixelHead, mlp
from foundationx.tasks.self_supervision.parts.losses import Scaling, order_loss, regress, take

SHUFFLE_CHANCE = 0.5


class PeacOptions(ObjectiveOptions):
    """PEAC's options; the published values are the defaults."""

    cells: int = Field(14, gt=1, description="tokens per side of a crop")
    shift: int = Field(4, ge=0, description="cells that crops may lie apart, down and across")
    global_width: int = Field(8192, gt=0, description="width of the projector of pooled features")
    local_width: int = Field(512, gt=0, description="width of the projector of tokens")
    global_weight: float = Field(24.4, ge=0, description="1e5 of the published mean over 8192 features is this")


class Peac(Objective[PeacOptions]):
    """Crop ``one`` is shuffled or distorted, ``two`` is as it is.

    The teacher sees both unchanged, and targets of single positions are normalised; as released it sees the changed
    crop, and single positions are compared raw.
    """

    Options = PeacOptions

    def __init__(self, features: int, options: PeacOptions):
        super().__init__(features, options)
        wide, narrow = options.global_width, options.local_width
        self.global_projector = mlp([features, wide, wide, wide], norm=True, last_bias=False)
        self.local_projector = mlp([features, narrow, narrow, narrow], norm=True, last_bias=False)
        self.order = nn.Linear(features, options.cells**2)
        self.pixels = PixelHead(features)

    @classmethod
    def views(
        cls,
        options: PeacOptions,
        size: tuple[int, int],
        training_progress: TrainingProgress,
        random: np.random.Generator,
    ) -> list[View]:
        """Two crops of one lattice; the first one twice, changed and ``plain``."""
        lattice = lay_lattice(middle_square(size), options.cells + options.shift, random)
        one, two = (lattice.box(lattice.draw(options.cells, random), options.cells) for _ in range(2))
        order = random.permutation(identity_order(options.cells)) if random.random() < SHUFFLE_CHANCE else None
        side = options.cells * CELL
        return [
            View("one", one, side, toned=False, distorted=order is None, order=order),
            View("plain", one, side, toned=False),
            View("two", two, side, toned=False),
        ]

    def forward(self, batch: ObjectiveBatch[Peac]) -> ObjectiveOutput:
        """Losses ``order``, ``restore``, ``global`` and ``local``."""
        one, two = batch.views["one"], batch.views["two"]
        seen = tuple(batch.seen_by_student("one", "two"))
        targets = tuple(batch.seen_by_teacher("one" if self.options.as_released else "plain", "two"))
        grey = batch.normalise(batch.views["plain"].images)[:, :1]
        unshuffled = (one.order == torch.arange(one.order.shape[1], device=one.order.device)).all(dim=1)
        losses = {
            "order": order_loss(self.order(seen[0].values), one.order),
            "restore": regress(self.pixels(seen[0].values, seen[0].grid), grey, "mse"),
            "global": self.options.global_weight * self._global_loss(batch, seen, targets),
            "local": self._local_loss(batch, seen, targets, (one.windows, two.windows), unshuffled),
        }
        return ObjectiveOutput(losses, seen[1].pooled, targets[0].pooled)

    def _global_loss(
        self, batch: ObjectiveBatch[Peac], seen: tuple[Tokens, ...], targets: tuple[Tokens, ...]
    ) -> Tensor:
        """Each crop of the student against the other one of the teacher: mean of 1 - cosine."""
        with torch.no_grad():
            expected = torch.cat([batch.target.global_projector(target.pooled) for target in reversed(targets)])
        return regress(torch.cat([self.global_projector(tokens.pooled) for tokens in seen]), expected, "cosine")

    def _local_loss(
        self,
        batch: ObjectiveBatch[Peac],
        seen: tuple[Tokens, ...],
        targets: tuple[Tokens, ...],
        boxes: tuple[Tensor, Tensor],
        unshuffled: Tensor,
    ) -> Tensor:
        """Tokens that show the same position, of images whose blocks are in order."""
        scaling: Scaling = "none" if self.options.as_released else "layer"
        loss = seen[0].values.new_zeros(())
        for own in (0, 1):
            other = 1 - own
            index, valid = nearest(boxes[own], seen[own].grid, boxes[other], targets[other].grid)
            with torch.no_grad():
                target = take(batch.target.local_projector(targets[other].values), index)
            valid = valid & unshuffled[:, None]
            loss = loss + regress(self.local_projector(seen[own].values), target, "mse", scaling, valid, self.training)
        return loss
