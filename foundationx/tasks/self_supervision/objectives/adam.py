"""Adam: contrast of anatomy, from coarse to fine (``docs/methods/self_supervision.md``, "1 Adam").

A tile of the image is distinguished from other images' tiles of the same coarseness; those that look alike are no
negatives, for they may show the same anatomy of another patient.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.geometry.samplers import scaled_box, tile, whole
from foundationx.core.geometry.views import TrainingProgress, View
from foundationx.tasks.self_supervision.objective import Objective, ObjectiveBatch, ObjectiveOptions, ObjectiveOutput
from foundationx.tasks.self_supervision.parts.curriculum import stage_at
from foundationx.tasks.self_supervision.parts.heads import mlp
from foundationx.tasks.self_supervision.parts.losses import queue_contrast
from foundationx.tasks.self_supervision.parts.memory import Queue

AREA, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)


class AdamOptions(ObjectiveOptions):
    """Adam's options; the published values are the defaults."""

    photometry: PhotometryConfig = Field(
        PhotometryConfig(brightness=0.4, contrast=0.4, blur=2.0),
        description="photometric transforms of the student's views",
    )
    size: int = Field(224, multiple_of=32, description="side of a view")
    tiles: tuple[int, ...] = Field((1, 2, 4), description="tiles per side, one entry per stage; 1 is the whole image")
    rotate: float = Field(30.0, ge=0, description="largest rotation, in degrees")
    hidden: int = Field(2048, gt=0, description="width of the hidden layers of the heads")
    output: int = Field(128, gt=0, description="width of the embedding")
    queue: int = Field(65536, gt=0, description="keys in the queue")
    temperature: float = Field(0.2, gt=0, description="temperature of the contrastive loss")
    prune_above: float = Field(0.8, description="cosine from which a tile of the queue is no negative")


class Adam(Objective[AdamOptions]):
    """One tile per image, seen by student and teacher; a queue of the teacher's keys.

    As released the teacher's view is as changed as the student's, the queue starts with noise and remains when the
    stage changes.
    """

    Options = AdamOptions

    def __init__(self, features: int, options: AdamOptions):
        super().__init__(features, options)
        self.head = mlp([features, options.hidden, options.output])
        self.queue = Queue(options.queue, options.output, prefilled=options.as_released)

    @classmethod
    def views(
        cls,
        options: AdamOptions,
        size: tuple[int, int],
        training_progress: TrainingProgress,
        random: np.random.Generator,
    ) -> list[View]:
        """Two crops of one tile."""
        count = options.tiles[stage_at([1] * len(options.tiles), training_progress.done)]
        anchor = tile(whole(size), count, random)
        query, key = (scaled_box(anchor, AREA, RATIO, random) for _ in range(2))
        changed = options.as_released
        return [
            View("query", query, options.size, rotate=options.rotate),
            View("key", key, options.size, toned=changed, rotate=options.rotate if changed else 0.0),
        ]

    def forward(self, batch: ObjectiveBatch[Adam]) -> ObjectiveOutput:
        """Loss ``contrast``. Afterwards the teacher's keys join the queue."""
        options = self.options
        stage = stage_at([1] * len(options.tiles), batch.training_progress.done)
        (seen,), (target,) = batch.seen_by_student("query"), batch.seen_by_teacher("key")
        query = F.normalize(self.head(seen.pooled).float(), dim=1)
        with torch.no_grad():
            key = F.normalize(batch.target.head(target.pooled).float(), dim=1)
        if self.training and not options.as_released:
            self.queue.enter(stage)
        limit = None if options.tiles[stage] == 1 else options.prune_above
        loss = queue_contrast(query, key, self.queue.read(), self.queue.valid, options.temperature, limit)
        if self.training:
            self.queue.push(key)
        return ObjectiveOutput({"contrast": loss}, seen.pooled, target.pooled)
