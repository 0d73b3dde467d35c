"""Self-supervision: an objective learns from views of images alone."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from foundationx.core.arrays import Recorded
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.views import PhotometryConfig
from foundationx.core.geometry.views import ViewSet
from foundationx.core.types import Batch, Example
from foundationx.tasks.definition import TaskDefinition, ViewPlan
from foundationx.tasks.drawing import ClassSummary, Overlay
from foundationx.tasks.self_supervision.target import SelfSupervisionBatch, collate


class SelfSupervisionTask(TaskDefinition):
    """Views. Its objective has a teacher of its own inside; a single image gives no prediction."""

    name = "self_supervision"
    noun = "image"
    headline = "margin"
    part = ""
    needs_annotations = False
    has_consistency = False
    has_fixed_shape = False
    needed_steps = 0

    def batch(
        self, common: Mapping[str, Any], targets: Sequence[ViewSet], size: tuple[int, int]
    ) -> SelfSupervisionBatch:
        """Views of one name one beside the other."""
        return collate(common, targets)

    def view_plan(self, config: ModelConfig) -> tuple[ViewPlan, PhotometryConfig]:
        """The views of the configured objective."""
        from foundationx.tasks.self_supervision.objective import open_objective

        objective, options = open_objective(config.objective)
        return functools.partial(objective.views, options), options.photometry

    def has_one_head(self, config: ModelConfig) -> bool:
        """Whether the configured objective compares datasets."""
        from foundationx.tasks.self_supervision.objective import open_objective

        return config.objective is not None and open_objective(config.objective)[0].is_shared

    def trunk_groups(self) -> Mapping[str, str]:
        """The trunk has no parameters."""
        return {}

    def record_truth(self, batch: Batch) -> dict[str, Recorded]:
        """Nothing."""
        return {}

    def record_prediction(self, prediction: Any, batch: Batch) -> dict[str, Recorded]:
        """Nothing."""
        return {}

    def example_class(self) -> type[Example]:
        """The image alone."""
        return Example

    def example(self, prediction: Any, batch: Batch, index: int) -> Example:
        """The image."""
        return Example(batch.images[index, 0].numpy(), batch.metas[index].image, batch.labels[index].numpy())

    def findings(self, example: Any, classes: Sequence[str]) -> list[ClassSummary]:
        """None."""
        return []

    def describe(
        self,
        prediction: Any,
        classes: Sequence[str],
        size: tuple[int, int],
        thresholds: Mapping[str, float],
        overlay: Overlay,
        head: str,
    ) -> None:
        """Nothing."""
        return
