"""Lamps: beyond the border, order, hierarchy and consistency of anatomy, in turn.

See ``docs/methods/self_supervision.md``, "5 Lamps".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.geometry.boxes import centres, inside, nearest
from foundationx.core.geometry.samplers import Lattice, children, inner, lay_lattice, middle_square
from foundationx.core.geometry.views import CELL, TrainingProgress, View, identity_order
from foundationx.tasks.self_supervision.objective import (
    Objective,
    ObjectiveBatch,
    ObjectiveOptions,
    ObjectiveOutput,
    for_both,
)
from foundationx.tasks.self_supervision.parts.heads import Prototypes, TokenDecoder, mlp
from foundationx.tasks.self_supervision.parts.losses import (
    Measure,
    Scaling,
    assignment,
    mean_where,
    order_loss,
    prototype_loss,
    regress,
    take,
)
from foundationx.tasks.self_supervision.parts.memory import Centre

Kind = Literal["extrapolate", "order", "hierarchy", "consistency"]
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
QUADRANTS = tuple(f"quadrant{n}" for n in range(4))
LOCAL_WIDTH = 512


class LampsOptions(ObjectiveOptions):
    """Lamps' options; the published values are the defaults."""

    photometry: PhotometryConfig = Field(
        PhotometryConfig(brightness=0.5, contrast=0.5, blur=2.0),
        description="photometric transforms of the student's views",
    )
    cells: int = Field(14, gt=1, multiple_of=2, description="tokens per side of a crop")
    shift: int = Field(4, ge=0, description="cells that crops may lie apart, down and across")
    window: int = Field(11, gt=0, description="tokens per side of the window that extrapolation starts from")
    turns: tuple[Kind, ...] = Field(
        ("extrapolate", "order", "hierarchy", "consistency"),
        min_length=1,
        description="what each batch learns, in turn",
    )
    depth: int = Field(8, gt=0, description="blocks of the decoder that extrapolates")
    hidden: int = Field(2048, gt=0, description="width of the hidden layers of the heads")
    bottleneck: int = Field(256, gt=0, description="width before the prototypes")
    prototypes: int = Field(65536, gt=0, description="number of prototypes")
    order_weight: float = Field(0.1, ge=0, description="weight of the order loss")
    global_weight: float = Field(0.1, ge=0, description="weight of the global loss")


class Lamps(Objective[LampsOptions]):
    """One kind of loss per batch, in turn.

    Targets that are single tokens are normalised, those of extrapolation averaged over the positions outside the
    window; as released they are raw, averaged over all positions.
    """

    Options = LampsOptions

    def __init__(self, features: int, options: LampsOptions):
        super().__init__(features, options)
        self.decoder = TokenDecoder(features, options.cells, options.depth)
        self.order = nn.Linear(features, options.cells**2)
        self.compose = mlp([4 * features, features, features, features], norm=True)
        self.decompose = mlp([features, 4 * features, 4 * features], norm=True)
        self.prototypes = Prototypes(features, options.hidden, options.bottleneck, options.prototypes)
        self.centre = Centre(options.prototypes)
        self.local_projector = mlp([features, LOCAL_WIDTH, LOCAL_WIDTH, LOCAL_WIDTH], norm=True, last_bias=False)

    @classmethod
    def views(
        cls,
        options: LampsOptions,
        size: tuple[int, int],
        training_progress: TrainingProgress,
        random: np.random.Generator,
    ) -> list[View]:
        """Views of the training_progress's kind of loss, of one lattice."""
        lattice = lay_lattice(middle_square(size), options.cells + options.shift, random)
        return _VIEWS[_kind(options, training_progress)](options, lattice, random)

    def forward(self, batch: ObjectiveBatch[Lamps]) -> ObjectiveOutput:
        """Losses of the training_progress's kind."""
        return getattr(self, f"_{_kind(self.options, batch.training_progress)}")(batch)

    @property
    def turns(self) -> int:
        """One for each kind of loss."""
        return len(self.options.turns)

    @property
    def _scaling(self) -> Scaling:
        """Of targets that are single tokens."""
        return "none" if self.options.as_released else "layer"

    def _extrapolate(self, batch: ObjectiveBatch[Lamps]) -> ObjectiveOutput:
        """From the tokens of a window to those of the crop around it."""
        (seen,), (target,) = batch.seen_by_student("window"), batch.seen_by_teacher("crop")
        crop, window = batch.clean("crop").windows, batch.views["window"].windows
        index, valid = nearest(crop, target.grid, window, seen.grid)
        prediction = self.decoder(seen.values, index, valid)
        loss = regress(prediction, target.values, "smooth_l1", self._scaling, ~valid)
        if self.options.as_released:
            loss = loss * (~valid).float().mean()
        return ObjectiveOutput({"extrapolate": loss}, seen.pooled, target.pooled)

    def _order(self, batch: ObjectiveBatch[Lamps]) -> ObjectiveOutput:
        """Of a shuffled crop: the position of each block, and what the teacher sees there."""
        (seen,), (target,) = batch.seen_by_student("shuffled"), batch.seen_by_teacher("crop")
        order = batch.views["shuffled"].order
        losses = {
            "order": self.options.order_weight * order_loss(self.order(seen.values), order),
            "coherence": regress(seen.values, take(target.values, order), "mse", self._scaling),
        }
        return ObjectiveOutput(losses, seen.pooled, target.pooled)

    def _hierarchy(self, batch: ObjectiveBatch[Lamps]) -> ObjectiveOutput:
        """The crop from its quadrants and back, of pooled tokens."""
        (seen,), seen_parts = batch.seen_by_student("crop"), batch.seen_by_student(*QUADRANTS)
        (target,), part_targets = batch.seen_by_teacher("crop"), batch.seen_by_teacher(*QUADRANTS)
        composed = self.compose(torch.cat([part.pooled for part in seen_parts], dim=1))
        decomposed = self.decompose(seen.pooled).unflatten(1, (4, -1))
        parts = torch.stack([part.pooled for part in part_targets], dim=1)
        measure: Measure = "smooth_l1" if self.options.as_released else "cosine"
        losses = {
            "compose": regress(composed, target.pooled, measure),
            "decompose": regress(decomposed, parts, measure),
        }
        return ObjectiveOutput(losses, seen.pooled, target.pooled)

    def _consistency(self, batch: ObjectiveBatch[Lamps]) -> ObjectiveOutput:
        """Two crops agree on what both show, globally and position by position."""
        seen, targets = batch.seen_by_student("one", "two"), batch.seen_by_teacher("one", "two")
        boxes = [batch.views[name].windows for name in ("one", "two")]
        shared = [inside(centres(boxes[n], seen[n].grid), boxes[1 - n]) for n in (0, 1)]
        with torch.no_grad():
            raw = [batch.target.prototypes(mean_where(targets[n].values, shared[n])) for n in (0, 1)]
            dense = [batch.target.local_projector(tokens.values) for tokens in targets]
        assigned = [assignment(logits, self.centre.mean, TEACHER_TEMPERATURE) for logits in raw]
        global_loss, local_loss = seen[0].values.new_zeros(()), seen[0].values.new_zeros(())
        for own, other in ((0, 1), (1, 0)):
            logits = self.prototypes(mean_where(seen[own].values, shared[own]))
            global_loss = global_loss + prototype_loss(assigned[other], logits, STUDENT_TEMPERATURE) / 2
            index, valid = nearest(boxes[own], seen[own].grid, boxes[other], targets[other].grid)
            prediction = self.local_projector(seen[own].values)
            local_loss = local_loss + regress(
                prediction, take(dense[other], index), "mse", self._scaling, valid, self.training
            )
        if self.training:
            self.centre.follow(torch.cat(raw))
        losses = {"global": self.options.global_weight * global_loss, "local": local_loss}
        return ObjectiveOutput(losses, seen[0].pooled, targets[1].pooled, assigned[1])


def _kind(options: LampsOptions, training_progress: TrainingProgress) -> Kind:
    """What a batch learns."""
    return options.turns[training_progress.turn % len(options.turns)]


def _draw_crop(options: LampsOptions, lattice: Lattice, random: np.random.Generator) -> np.ndarray:
    return lattice.box(lattice.draw(options.cells, random), options.cells)


def _extrapolate_views(options: LampsOptions, lattice: Lattice, random: np.random.Generator) -> list[View]:
    """A crop and a window in it."""
    crop = _draw_crop(options, lattice, random)
    window = inner(crop, options.cells, options.window, random)
    return [View("window", window, options.window * CELL), View("crop", crop, options.cells * CELL, toned=False)]


def _order_views(options: LampsOptions, lattice: Lattice, random: np.random.Generator) -> list[View]:
    """A crop shuffled, and as it is."""
    crop, side = _draw_crop(options, lattice, random), options.cells * CELL
    order = random.permutation(identity_order(options.cells))
    return [View("shuffled", crop, side, order=order), View("crop", crop, side, toned=False)]


def _hierarchy_views(options: LampsOptions, lattice: Lattice, random: np.random.Generator) -> list[View]:
    """A crop and its quadrants."""
    crop = _draw_crop(options, lattice, random)
    views = for_both(View("crop", crop, options.cells * CELL), options)
    for name, box in zip(QUADRANTS, children(crop, 2), strict=True):
        views += for_both(View(name, box, options.cells // 2 * CELL), options)
    return views


def _consistency_views(options: LampsOptions, lattice: Lattice, random: np.random.Generator) -> list[View]:
    """Two crops that may overlap."""
    crops = {name: _draw_crop(options, lattice, random) for name in ("one", "two")}
    return [v for name, box in crops.items() for v in for_both(View(name, box, options.cells * CELL), options)]


_VIEWS = {
    "extrapolate": _extrapolate_views,
    "order": _order_views,
    "hierarchy": _hierarchy_views,
    "consistency": _consistency_views,
}
