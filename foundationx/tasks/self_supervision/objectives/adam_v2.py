"""Adam-v2: positions that can be distinguished, wholes from parts and parts from wholes.

See ``docs/methods/self_supervision.md``, "2 Adam-v2".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.geometry.samplers import children, scaled_box, square_box, whole
from foundationx.core.geometry.views import TrainingProgress, View
from foundationx.tasks.self_supervision.objective import (
    Objective,
    ObjectiveBatch,
    ObjectiveOptions,
    ObjectiveOutput,
    Tokens,
    for_both,
)
from foundationx.tasks.self_supervision.parts.curriculum import stage_at
from foundationx.tasks.self_supervision.parts.heads import Prototypes, mlp
from foundationx.tasks.self_supervision.parts.losses import assignment, prototype_loss, regress
from foundationx.tasks.self_supervision.parts.memory import Centre

GLOBAL_AREA, LOCAL_AREA = (0.8, 1.0), (0.05, 0.4)
EXTENTS = ((0.05, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8))
"""Areas of the centred crops: the same position at different extents."""
RATIO, NARROW, WIDE = (3 / 4, 4 / 3), (2 / 3, 1.0), (1.0, 3 / 2)
GLOBALS, LOCALS = ("global0", "global1"), tuple(f"local{n}" for n in range(8))
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
STAGES: tuple[tuple[Literal["localise", "compose"], int, float], ...] = (
    ("localise", 0, 200),
    ("localise", 1, 200),
    ("localise", 2, 100),
    ("compose", 0, 10),
    ("compose", 1, 90),
    ("compose", 2, 165),
)
"""The published epochs."""


class AdamV2Options(ObjectiveOptions):
    """Adam-v2's options; the published values are the defaults."""

    photometry: PhotometryConfig = Field(
        PhotometryConfig(brightness=0.4, contrast=0.4, blur=2.0),
        description="photometric transforms of the student's views",
    )
    size: int = Field(224, multiple_of=32, description="side of wholes and parts")
    small_size: int = Field(96, multiple_of=32, description="side of small crops")
    parts: int = Field(2, ge=2, description="parts per side")
    stages: tuple[tuple[Literal["localise", "compose"], int, float], ...] = Field(
        STAGES,
        description="what is learned, at the image's side divided by 2 to which power, for how long in relation",
    )
    hidden: int = Field(2048, gt=0, description="width of the hidden layers of the heads")
    bottleneck: int = Field(256, gt=0, description="width before the prototypes")
    prototypes: int = Field(65536, gt=0, description="number of prototypes")
    still: float = Field(0.0015, ge=0, description="share of training in which the prototypes do not learn")


class AdamV2(Objective[AdamV2Options]):
    """Two kinds of stages: ``localise`` is DINO on anchors, ``compose`` adds the whole from its parts and back.

    As released the teacher's views are as changed as the student's, parts and whole are turned each by itself, and
    composition is a mean squared error over the features (almost without weight, and the parts share one norm:
    ``docs/methods/self_supervision.md``, "2.5 Weight of composition").
    """

    Options = AdamV2Options

    def __init__(self, features: int, options: AdamV2Options):
        super().__init__(features, options)
        count = options.parts**2
        self.prototypes = Prototypes(features, options.hidden, options.bottleneck, options.prototypes)
        self.centre = Centre(options.prototypes)
        self.compose = mlp([count * features, features, features])
        self.decompose = mlp([features, features, count * features])

    @classmethod
    def views(
        cls,
        options: AdamV2Options,
        size: tuple[int, int],
        training_progress: TrainingProgress,
        random: np.random.Generator,
    ) -> list[View]:
        """Of one anchor: globals and locals, or whole, centred crops and parts."""
        kind, depth, _ = options.stages[stage_at([stage[2] for stage in options.stages], training_progress.done)]
        image = whole(size)
        if kind == "localise":
            return _local_views(options, square_box(image, min(size) / 2**depth, random) if depth else image, random)
        extent = image[2:] / 2**depth
        corner = random.random(2) * (image[2:] - extent)
        return _nested_views(options, np.concatenate([corner, corner + extent]), random)

    def forward(self, batch: ObjectiveBatch[AdamV2]) -> ObjectiveOutput:
        """Losses ``localise``, and in the second kind of stage ``compose`` and ``decompose``."""
        return self._compose(batch) if "whole" in batch.views else self._localise(batch)

    def _localise(self, batch: ObjectiveBatch[AdamV2]) -> ObjectiveOutput:
        seen = [*batch.seen_by_student(*GLOBALS), *batch.seen_by_student(*LOCALS)]
        targets = batch.seen_by_teacher(*GLOBALS)
        loss, assigned = self._local_loss(batch, [t.pooled for t in targets], [s.pooled for s in seen], skip_same=True)
        return ObjectiveOutput({"localise": loss}, seen[0].pooled, targets[1].pooled, assigned)

    def _compose(self, batch: ObjectiveBatch[AdamV2]) -> ObjectiveOutput:
        names = tuple(f"part{n}" for n in range(self.options.parts**2))
        seen_whole, centred, *seen_parts = batch.seen_by_student("whole", "centred", *names)
        whole_target, *part_targets = batch.seen_by_teacher("whole", *names)
        smalls = batch.seen_by_student(*(f"small{n}" for n in range(len(EXTENTS))))
        views = [view.pooled for view in (centred, *smalls)]
        loss, assigned = self._local_loss(batch, [whole_target.pooled], views, skip_same=False)
        composed, decomposed = self._parts_losses(seen_whole, seen_parts, whole_target, part_targets)
        losses = {"localise": loss, "compose": composed, "decompose": decomposed}
        return ObjectiveOutput(losses, centred.pooled, whole_target.pooled, assigned)

    def _local_loss(
        self, batch: ObjectiveBatch[AdamV2], targets: list[Tensor], views: list[Tensor], skip_same: bool
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of all positions to all targets but their own; the first target's distribution."""
        with torch.no_grad():
            raw = [batch.target.prototypes(target) for target in targets]
        assigned = [assignment(logits, self.centre.mean, TEACHER_TEMPERATURE) for logits in raw]
        still = batch.training_progress.done < self.options.still
        logits = [self.prototypes(view, still) for view in views]
        pairs = [(w, x) for m, w in enumerate(assigned) for n, x in enumerate(logits) if not (skip_same and m == n)]
        loss = torch.stack([prototype_loss(w, x, STUDENT_TEMPERATURE) for w, x in pairs]).mean()
        if self.training:
            self.centre.follow(torch.cat(raw))
        return loss, assigned[0]

    def _parts_losses(
        self, seen_whole: Tokens, seen_parts: list[Tokens], whole_target: Tokens, part_targets: list[Tokens]
    ) -> tuple[Tensor, Tensor]:
        """The whole from its parts (B, D), and the parts from the whole (B, P, D)."""
        composed = self.compose(torch.cat([part.pooled for part in seen_parts], dim=1))
        decomposed = self.decompose(seen_whole.pooled)
        targets = torch.stack([target.pooled for target in part_targets], dim=1)
        if not self.options.as_released:
            decomposed = decomposed.unflatten(1, (len(seen_parts), -1))
            return regress(composed, whole_target.pooled, "cosine"), regress(decomposed, targets, "cosine")
        decomposed = torch.nn.functional.normalize(decomposed.float(), dim=1).unflatten(1, (len(seen_parts), -1))
        unit_targets = torch.nn.functional.normalize(targets.float(), dim=2)
        return regress(composed, whole_target.pooled, "mse", "unit"), regress(decomposed, unit_targets, "mse")


def _local_views(options: AdamV2Options, anchor: np.ndarray, random: np.random.Generator) -> list[View]:
    """DINO's multi-crop of an anchor."""
    views: list[View] = []
    for name in GLOBALS:
        box = scaled_box(anchor, GLOBAL_AREA, RATIO, random)
        views += for_both(View(name, box, options.size, rotate=30.0), options)
    for name in LOCALS:
        box = scaled_box(anchor, LOCAL_AREA, RATIO, random)
        views.append(View(name, box, options.small_size, rotate=30.0))
    return views


def _nested_views(options: AdamV2Options, anchor: np.ndarray, random: np.random.Generator) -> list[View]:
    """The anchor, crops around its middle, and its parts."""
    together = 10.0 if options.as_released else 0.0  # else parts would not be parts of the whole
    views = for_both(View("whole", anchor, options.size, rotate=together), options)
    box = scaled_box(anchor, GLOBAL_AREA, RATIO, random, centred=True)
    views.append(View("centred", box, options.size, rotate=10.0))
    for number, extent in enumerate(EXTENTS):
        box = scaled_box(anchor, extent, WIDE if number % 2 else NARROW, random, centred=True)
        views.append(View(f"small{number}", box, options.small_size, rotate=10.0))
    for number, box in enumerate(children(anchor, options.parts)):
        views += for_both(View(f"part{number}", box, options.size, rotate=together), options)
    return views
