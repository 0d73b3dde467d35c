"""ACE: a wide crop's tokens divide into a narrow crop's, and those compose into the wide one's.

See ``docs/methods/self_supervision.md``, "4 ACE". The wide crop shows two by two cells a token, the narrow one a single
cell; both lie on one lattice with equal parity.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.geometry.boxes import Grid, centres, inside, soft_target
from foundationx.core.geometry.samplers import lay_lattice, scaled_box, whole
from foundationx.core.geometry.views import CELL, TrainingProgress, View
from foundationx.tasks.self_supervision.objective import (
    Objective,
    ObjectiveBatch,
    ObjectiveOptions,
    ObjectiveOutput,
    Tokens,
    for_both,
)
from foundationx.tasks.self_supervision.parts.heads import Down, Prototypes, Up, mlp
from foundationx.tasks.self_supervision.parts.losses import (
    assignment,
    balanced_bce,
    match_loss,
    mean_where,
    prototype_loss,
)
from foundationx.tasks.self_supervision.parts.memory import Centre

FIELD_AREA, FIELD_RATIO = (0.85, 1.0), (3 / 4, 4 / 3)
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
SHARPNESS = 1 / 0.07
BALANCES = (0.99, 0.9)
"""As released: of dividing and of composing, made for 14 x 14 tokens."""


class AceOptions(ObjectiveOptions):
    """ACE's options; the published values are the defaults."""

    photometry: PhotometryConfig = Field(
        PhotometryConfig(brightness=0.5, contrast=0.5, blur=2.0),
        description="photometric transforms of the student's views",
    )
    cells: int = Field(14, gt=1, multiple_of=2, description="tokens per side of both crops")
    shift: int = Field(4, ge=0, description="cells that the wide crop may be moved, down and across")
    hidden: int = Field(2048, gt=0, description="width of the hidden layers of the heads")
    bottleneck: int = Field(256, gt=0, description="width before the prototypes")
    prototypes: int = Field(65536, gt=0, description="number of prototypes")
    global_weight: float = Field(0.1, ge=0, description="weight of the global loss")
    match_weight: float = Field(0.5, ge=0, description="weight of the matching loss")


class Ace(Objective[AceOptions]):
    """Soft matches of positions at two scales, and prototypes of what both crops show.

    Matches of positions are cosines times a learned scale plus a learned offset. As released the scale is fixed,
    there is no offset, student tokens are not brought to length 1 and the balance is a constant.
    """

    Options = AceOptions

    def __init__(self, features: int, options: AceOptions):
        super().__init__(features, options)
        self.prototypes = Prototypes(features, options.hidden, options.bottleneck, options.prototypes)
        self.centre = Centre(options.prototypes)
        self.dense = nn.Sequential(mlp([features] * 4, norm=True), nn.LayerNorm(features), nn.ReLU())
        self.up, self.down = Up(features), Down(features)
        if not options.as_released:
            self.log_scale = nn.Parameter(torch.full((2,), math.log(SHARPNESS)))
            self.offset = nn.Parameter(torch.zeros(2))

    @classmethod
    def views(
        cls,
        options: AceOptions,
        size: tuple[int, int],
        training_progress: TrainingProgress,
        random: np.random.Generator,
    ) -> list[View]:
        """A wide and a narrow crop of one lattice, of equal size in pixels."""
        field = scaled_box(whole(size), FIELD_AREA, FIELD_RATIO, random)
        lattice = lay_lattice(field, 2 * options.cells + options.shift, random, spare=0)
        corner = lattice.draw(2 * options.cells, random)
        wide = lattice.box(corner, 2 * options.cells)
        narrow = lattice.box(lattice.draw(options.cells, random, like=corner), options.cells)
        side = options.cells * CELL
        return [*for_both(View("wide", wide, side), options), *for_both(View("narrow", narrow, side), options)]

    def forward(self, batch: ObjectiveBatch[Ace]) -> ObjectiveOutput:
        """Losses ``global``, ``divide`` and ``compose``."""
        boxes = [batch.views[name].windows for name in ("wide", "narrow")]
        seen = batch.seen_by_student("wide", "narrow")
        targets = batch.seen_by_teacher("wide", "narrow")
        loss, assigned = self._global_loss(batch, seen, targets, boxes)
        own = [F.normalize(self.dense(tokens.values), dim=2) for tokens in seen]
        with torch.no_grad():
            others = [F.normalize(batch.target.dense(tokens.values), dim=2) for tokens in targets]
        rows, columns = seen[0].grid
        fine, coarse = (2 * rows, 2 * columns), (rows // 2, columns // 2)
        divided = self._match_loss(0, others[1], boxes[1], seen[1].grid, self.up(own[0], seen[0].grid), boxes[0], fine)
        composed = self._match_loss(
            1, others[0], boxes[0], seen[0].grid, self.down(own[1], seen[1].grid), boxes[1], coarse
        )
        weight = self.options.match_weight
        losses = {"global": self.options.global_weight * loss, "divide": weight * divided, "compose": weight * composed}
        return ObjectiveOutput(losses, seen[0].pooled, targets[1].pooled, assigned)

    def _global_loss(
        self, batch: ObjectiveBatch[Ace], seen: list[Tokens], targets: list[Tokens], boxes: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Prototypes of what both crops show: each crop of the student against the other one of the teacher."""
        shared = [inside(centres(boxes[n], seen[n].grid), boxes[1 - n]) for n in (0, 1)]
        with torch.no_grad():
            raw = [batch.target.prototypes(mean_where(targets[n].values, shared[n])) for n in (0, 1)]
        assigned = [assignment(logits, self.centre.mean, TEACHER_TEMPERATURE) for logits in raw]
        logits = [self.prototypes(mean_where(seen[n].values, shared[n])) for n in (0, 1)]
        both = [prototype_loss(assigned[1 - n], logits[n], STUDENT_TEMPERATURE) for n in (0, 1)]
        loss = (both[0] + both[1]) / 2
        if self.training:
            self.centre.follow(torch.cat(raw))
        return loss, assigned[1]

    def _match_loss(
        self,
        which: int,
        rows: Tensor,
        row_boxes: Tensor,
        row_grid: Grid,
        columns: Tensor,
        column_boxes: Tensor,
        column_grid: Grid,
    ) -> Tensor:
        """The teacher's tokens (rows) against the student's at the other scale; ``which``: dividing 0, composing 1."""
        target = soft_target(row_boxes, row_grid, column_boxes, column_grid, sigma=1.0, reach=1 if which else 2)
        if self.options.as_released:
            return balanced_bce(SHARPNESS * rows @ columns.transpose(1, 2), target, BALANCES[which])
        cosines = rows @ F.normalize(columns, dim=2).transpose(1, 2)
        return match_loss(self.log_scale[which].exp() * cosines + self.offset[which], target, self.training)
