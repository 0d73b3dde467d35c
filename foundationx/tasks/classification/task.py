"""Image labels: classes that are present, absent or unknown in an image as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.arrays import Recorded
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch
from foundationx.tasks.classification import draw, record, trivial
from foundationx.tasks.classification.prediction import ClassificationExample, ClassificationPrediction
from foundationx.tasks.definition import TaskDefinition
from foundationx.tasks.drawing import ClassSummary, Overlay
from foundationx.tasks.fill import FillRules
from foundationx.tasks.table import TableRow

if TYPE_CHECKING:
    from torch import Tensor


class ClassificationTask(TaskDefinition):
    """Image labels."""

    name = "classification"
    noun = "image label"
    headline = "AUROC"
    hub_task = "image-classification"
    columns = ("score",)
    shares_head = True
    chance = 0.5
    legend = "Filled dot: present, ring: absent, no dot: unknown; bar: probability."

    def trunk_groups(self) -> Mapping[str, str]:
        """The projector between pooled feature and heads."""
        return {"": "projector"}

    def shared_groups(self, config: ModelConfig) -> tuple[str, ...]:
        """The projector, if there is one."""
        return ("projector",) if config.projector else ()

    def record_truth(self, batch: Batch) -> dict[str, Recorded]:
        """Nothing beside the labels."""
        return record.record_truth(batch)

    def record_prediction(self, prediction: ClassificationPrediction, batch: Batch) -> dict[str, Recorded]:
        """Probabilities."""
        return record.record_prediction(prediction, batch)

    def record_rows(
        self, rows: Sequence[TableRow], side: int, read_mask: Callable[[Path], np.ndarray]
    ) -> dict[str, Recorded]:
        """Scores as probabilities."""
        return record.record_rows(rows)

    def check_recorded(self, recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
        """Stored predictions as metrics rely on them. Raises ValueError."""
        record.check(recorded, images, classes)

    def image_scores(self, prediction: ClassificationPrediction, classes: int) -> Tensor:
        """Probabilities."""
        return prediction.probabilities

    def fill_rules(self) -> FillRules:
        """How a teacher's probabilities become labels."""
        from foundationx.tasks.classification import fill

        return fill

    def example_class(self) -> type[ClassificationExample]:
        """Truth and prediction of one image."""
        return ClassificationExample

    def example(self, prediction: ClassificationPrediction, batch: Batch, index: int) -> ClassificationExample:
        """An image with its probabilities."""
        return record.example(prediction, batch, index)

    def findings(self, example: ClassificationExample, classes: Sequence[str]) -> list[ClassSummary]:
        """Present classes, then the most likely ones."""
        return draw.findings(example, classes)

    def learn_trivial(
        self, labels: np.ndarray, batches: Iterable[Any], classes: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """The prior of every class."""
        return trivial.learn(labels, classes)

    def trivial_answers(
        self,
        learned: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str],
        images: int,
        truth: Mapping[str, Recorded],
    ) -> dict[str, dict[str, Recorded]]:
        """The prior."""
        return {"trivial": trivial.answer(learned, classes, images)}

    def describe(
        self,
        prediction: ClassificationPrediction,
        classes: Sequence[str],
        size: tuple[int, int],
        thresholds: Mapping[str, float],
        overlay: Overlay,
        head: str,
    ) -> dict[str, float]:
        """Probability of every class."""
        return draw.describe(prediction, classes, thresholds, overlay)
